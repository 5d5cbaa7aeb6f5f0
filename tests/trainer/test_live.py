"""What a user reads while a run trains, with a clock that the test moves."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trainer.live import LiveView
from trainer.logging import Event


class Run:
    """Plays a run of two epochs of three steps; a step takes 2 s, a validation 10 s."""

    def __init__(self, *, terminal, width=200, **options):
        self.now = 0.0
        self.output = io.StringIO()
        console = Console(file=self.output, force_terminal=terminal, width=width, no_color=True)
        self.view = LiveView(console, epochs=2, total_steps=6, clock=lambda: self.now, **options)

    def step(self, number, epoch, **values):
        self.now += 2
        self.view.log(Event("step", number, epoch, values, images=100))

    def validate(self, number, epoch, rsum):
        self.now += 10
        self.view.log(Event("val", number, epoch, {"rsum": rsum, "R@1": 1.0}))

    def lines(self):
        return self.output.getvalue().splitlines()


def test_without_a_terminal_there_is_one_plain_line_an_epoch():
    run = Run(terminal=False, width=40)
    for number, loss in ((1, 3.0), (2, 2.0), (3, 1.0)):
        run.step(number, 0, **{"loss/gold": loss, "loss/never_seen": 0.25, "lr": loss / 1000})
        assert run.lines() == []
    run.validate(3, 0, 120.04)
    assert run.lines() == [
        "epoch 1/2, step 3 | loss gold 2 never_seen 0.25 | lr 0.001 | "
        "val rsum 120.0 (best) | 50 images/s | 0:00:16 left"
    ]
    for number in (4, 5, 6):
        run.step(number, 1, **{"loss/gold": 0.5})
    run.validate(6, 1, 90.0)
    run.view.close()
    assert run.lines()[1:] == ["epoch 2/2, step 6 | loss gold 0.5 | val rsum 90 | 50 images/s"]


def test_epochs_without_validation_have_their_line_too():
    run = Run(terminal=False)
    for number in range(1, 6):
        run.step(number, (number - 1) // 3, **{"loss/gold": float(number)})
    run.view.close()
    first, second = run.lines()
    assert first.startswith("epoch 1/2, step 3 | loss gold 2 |")
    assert second.startswith("epoch 2/2, step 5 | loss gold 4.5 |")


def test_a_resumed_run_counts_time_from_its_own_start_and_knows_the_best():
    run = Run(terminal=False, start_step=3, best=100.0)
    for number in (4, 5):
        run.step(number, 1, **{"loss/gold": 1.0})
    run.validate(5, 1, 99.0)
    assert run.lines() == [
        "epoch 2/2, step 5 | loss gold 1 | val rsum 99 | 50 images/s | 0:00:07 left"
    ]


@pytest.mark.parametrize("width", [50, 120])
def test_a_terminal_shows_a_panel_below_the_lines(width):
    run = Run(terminal=True, width=width)
    run.step(1, 0, **{"loss/gold": 3.0, "accuracy/image": 0.5, "lr": 0.001})
    run.step(2, 0, **{"loss/gold": 1.0, "accuracy/image": 0.7, "lr": 0.002})
    panel = run.output.getvalue()
    assert "step 2/6" in panel
    assert "gold 2" in panel
    assert "image 0.6" in panel
    assert "lr 0.002" in panel
    run.validate(2, 0, 120.0)
    run.step(3, 0, **{"loss/gold": 1.0})
    assert "val rsum 120.0 at epoch 1" in run.output.getvalue()
    run.view.close()
    # The cursor is shown again: the terminal is left as it was.
    assert run.output.getvalue().rindex("\x1b[?25h") > run.output.getvalue().rindex("\x1b[?25l")
