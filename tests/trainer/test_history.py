"""Figures of a run, read back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainer.history import History, read_history
from trainer.logging import Event, JsonlLogger
from weaksup.errors import DataError


def test_what_was_logged_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    logger = JsonlLogger(path)
    events = [
        Event("step", 1, 0, {"loss/total": 3.0}),
        Event("step", 2, 0, {"loss/total": float("nan"), "lr": 0.1}),
        Event("val", 2, 0, {"rsum": 30.0}),
        Event("step", 3, 1, {"loss/total": 2.0}),
        Event("val", 3, 1, {"rsum": 50.0}),
        Event("val", 4, 2, {"rsum": 40.0}),
    ]
    for event in events:
        logger.log(event)
    logger.close()
    with path.open("a") as file:
        file.write('[1]\n{"kind": "other", "step": 1, "epoch": 0}\n{"kind": "step", "st')
    history = read_history(path)
    assert history.series("loss/total") == ([1, 3], [3.0, 2.0])
    assert history.series("nothing") == ([], [])
    assert [event.step for event in history.validations] == [2, 3, 4]
    assert history.epochs == 3
    assert (history.best.epoch, history.best.values) == (1, {"rsum": 50.0})


@pytest.mark.parametrize(
    ("steps", "epochs"), [((3,), 1), ((3, 1), 1), ((3, 2), 1), ((3, 3), 2), ((3, 3, 1), 2)]
)
def test_epochs_are_counted_without_validations_too(steps, epochs):
    """Three steps an epoch; of the last one all, or those until an interruption."""
    numbered = [epoch for epoch, count in enumerate(steps) for _ in range(count)]
    events = [Event("step", step, epoch, {}) for step, epoch in enumerate(numbered, start=1)]
    assert History(tuple(events), ()).epochs == epochs


def test_the_epochs_of_a_run_without_val_images(world, tiny, tmp_path):
    rows = tuple(replace(r, part="test") if r.part == "val" else r for r in world.rows)
    log = tmp_path / "metrics.jsonl"
    config = tiny("vsepp", epochs=3)
    replace(world, rows=rows).train(config, tmp_path, make_logger=lambda plan: JsonlLogger(log))
    history = read_history(log)
    assert not history.validations
    assert history.epochs == 3


def test_no_file_is_no_history(tmp_path):
    history = read_history(tmp_path / "metrics.jsonl")
    assert (history.steps, history.epochs, history.best) == ((), 0, None)


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        read_history(tmp_path / "metrics.jsonl")
