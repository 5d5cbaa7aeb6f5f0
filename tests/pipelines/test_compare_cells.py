"""Which cells ``weaksup compare`` does again: others, damaged ones, and none that is done."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pipelines.compare.cell import run_cell
from pipelines.compare.config import load_comparison
from pipelines.compare.plan import plan_cells
from trainer.checkpoint import STATE
from trainer.logging import Loggers
from weaksup.cli import main


def test_what_is_done_is_not_done_again(done, world, compare):
    path, captions, out, _ = done
    before = world.stamps("cells")
    results = (world.reports() / "results.jsonl").read_bytes()
    code, again, err = compare(path, captions=captions)
    assert (code, again) == (0, out)
    assert "9 trainings, 9 of them done before" in err
    assert world.stamps("cells") == before
    assert (world.reports() / "results.jsonl").read_bytes() == results


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("ranks.npz", lambda content: content[:100]),  # as a full disk leaves it
        ("ranks.npz", lambda content: b""),
        ("ranks.npz", lambda content: b"junk"),
        ("ranks.npz", lambda content: content[: len(content) // 2]),
        ("ranks.npz", flipped),
        ("cell.json", lambda content: b"junk"),
        ("cell.json", lambda content: content.replace(b'"record"', b'"recorded"')),
        ("cell.json", lambda content: content.replace(b'"rsum"', b'"rsun"')),
    ],
)
def test_a_damaged_cell_is_done_again_and_named(done, world, compare, name, damage):
    path, captions, out, _ = done
    before = world.figures()
    file = world.reports() / "cells/a3vse-0.5-0" / name
    file.write_bytes(damage(file.read_bytes()))
    code, again, err = compare(path, captions=captions)
    assert (code, again) == (0, out), err
    assert f"a3vse, 50 %, seed 0: done again, its {name} is damaged\n" in err
    assert err.count("done again") == 1
    assert "9 trainings, 8 of them done before" in err
    assert world.figures() == before


def test_a_damaged_cell_whose_run_was_discarded_says_that_it_is_trained_again(done, world, compare):
    path, captions, _, _ = done
    assert compare(path, "--discard-runs", captions=captions)[0] == 0
    (world.reports() / "cells/cca-0.5-0/ranks.npz").unlink()
    code, _, err = compare(path, captions=captions)
    assert code == 0, err
    assert "cca, 50 %, seed 0: done again, its ranks.npz is missing\n" in err


def test_what_was_begun_and_is_damaged_says_that_it_is_begun_anew(done, world, compare):
    path, captions, _, _ = done
    folder = world.reports() / "cells/cca-0.5-0"
    (folder / "cell.json").unlink()
    (folder / "progress.json").write_text('{"fingerprint": ')
    code, _, err = compare(path, captions=captions)
    assert code == 0, err
    assert "cca, 50 %, seed 0: done again, its progress.json is damaged\n" in err


def test_what_was_begun_goes_on_without_a_word(done, world, compare):
    path, captions, _, _ = done
    (world.reports() / "cells/cca-0.5-0/cell.json").unlink()
    code, _, err = compare(path, captions=captions)
    assert code == 0, err
    assert "done again" not in err
    assert "9 trainings, 8 of them done before" in err


def test_what_is_left_out_is_named_with_what_does_it_again(done, world, compare):
    path, captions, _, _ = done
    cells = world.reports() / "cells"
    variant = "a3vse, no adversary"
    for name in ("a3vse-no-adversary-0.5-0", "cca-1.0-0"):
        (cells / name / "ranks.npz").write_bytes(b"junk")
    before = world.stamps("cells")
    code, _, err = compare(path, "--only", "a3vse", captions=captions)
    assert code == 0, err
    left_out = "50 %, seed 0: left out, its ranks.npz is damaged"
    assert f"{variant}, {left_out}; `--only '{variant}'` does it again\n" in err
    assert "cca, 100 %, seed 0: left out, its ranks.npz is damaged; `--only cca` does it" in err
    assert err.count("left out") == 2  # a line a training
    assert world.stamps("cells") == before
    assert len(world.results()) == 10 - 3
    code, _, err = compare(path, "--only", variant, "--only", "cca", captions=captions)
    assert code == 0, err
    assert len(world.results()) == 10


@pytest.mark.parametrize("name", ["cell.json", "ranks.npz", "progress.json"])
@pytest.mark.parametrize("only", [(), ("--only", "a3vse")])
def test_what_cannot_be_read_ends_the_command_and_stays(done, world, compare, name, only):
    path, captions, _, _ = done
    folder = world.reports() / "cells/cca-0.5-0"
    if name == "progress.json":
        (folder / "cell.json").unlink()  # it is read of what is not done
    (folder / name).unlink()
    (folder / name).symlink_to(name)  # no user can read it, not even an administrator
    before = world.stamps()
    code, out, err = compare(path, *only, captions=captions)
    assert (code, out) == (3, "")
    assert f"error: {folder / name} cannot be read: Too many levels of symbolic links" in err
    assert "Traceback" not in err
    assert world.stamps() == before


def test_no_cell_is_read_more_often_for_those_that_come_after_it(world, compare):
    path = world.config('models = ["cca"]\nratios = [0.5]\nseeds = [0, 1, 2, 3, 4]\n')
    captions = world.captions()
    with opened_files() as opened:
        code, _, err = compare(path, captions=captions)
    assert code == 0, err
    times = Counter(file.parent.name for file in opened if file.name == "ranks.npz")
    assert len(times) == 5
    assert len(set(times.values())) == 1, times


@contextmanager
def opened_files():
    """Every file that this process opens meanwhile."""
    opened: list[Path] = []
    watching = True

    def note(event, arguments):  # it can be switched off, and not be taken away
        if watching and event == "open" and isinstance(arguments[0], str):
            opened.append(Path(arguments[0]))

    sys.addaudithook(note)
    try:
        yield opened
    finally:
        watching = False


def test_other_settings_do_their_cells_again(done, world, compare):
    path, captions, _, _ = done
    before = world.stamps("cells")
    path.write_text(path.read_text().replace("set.w_adv = 0", "set.w_adv = 0.1"))
    code, _, err = compare(path, captions=captions)
    assert code == 0
    assert "9 trainings, 7 of them done before" in err
    assert "a3vse, no adversary, 50 %, seed 0: done again, made before from other settings" in err
    after = world.stamps("cells")
    changed = {path.parent.name for path in after if after[path] != before.get(path)}
    assert changed == {"a3vse-no-adversary-0.5-0", "a3vse-no-adversary-0.5-1"}
    assert world.results()[2]["set"] == {"w_adv": 0.1}


def test_how_fast_cells_are_made_does_none_again(done, world, compare):
    path, captions, out, _ = done
    before = world.stamps("cells")
    path.write_text(path.read_text().replace('device = "cpu"', 'device = "auto"\nworkers = 2'))
    code, again, err = compare(path, captions=captions)
    assert (code, again) == (0, out), err
    assert "9 trainings, 9 of them done before" in err
    assert world.stamps("cells") == before


def test_what_was_begun_in_another_precision_is_begun_anew(world):
    """As ``auto`` may be on another device."""
    path = world.config('models = ["vsepp"]\nratios = [0.5]\nseeds = [0]\n')
    (cell,) = plan_cells(load_comparison(path))
    data, folder, starts = world.data(world.captions()), world.folder / "cell", []

    def run(logger):
        def make_loggers(plan):
            starts.append(plan.start_step)
            return [logger]

        run_cell(cell, data, folder=folder, protocols=("full",), make_loggers=make_loggers)

    for precision in ("fp32", "bf16"):
        with pytest.raises(KeyboardInterrupt):
            run(Interrupts())
        state = torch.load(folder / STATE, weights_only=True)
        state["fingerprint"]["precision"] = precision
        torch.save(state, folder / STATE)
    run(Loggers(()))
    assert starts == [0, 1, 0]


class Interrupts:
    """A logger at whose first event somebody presses Ctrl-C."""

    def log(self, event):
        os.kill(os.getpid(), signal.SIGINT)

    def close(self): ...


def test_other_captions_do_everything_again(done, world, compare):
    path, _, _, _ = done
    before = [r["rsum"] for r in world.results()]
    other = world.captions(says={f"train/{n}.jpg": "something else" for n in range(12)})
    code, _, err = compare(path, captions=other)
    assert code == 0
    assert err.count("made before from other captions") == 9
    assert [r["rsum"] for r in world.results()] != before


def test_runs_can_be_discarded(done, world, compare):
    path, captions, out, _ = done
    before = world.figures()
    code, again, err = compare(path, "--discard-runs", captions=captions)
    assert code == 0, err
    files = {p.name for p in (world.reports() / "cells").rglob("*") if p.is_file()}
    assert files == {"cell.json", "ranks.npz"}
    # Intervals too: they come from the ranks.
    assert again == out
    assert compare(path, captions=captions)[1] == out
    assert world.figures() == before


def test_a_run_that_was_discarded_says_so(done, world, compare, capsys):
    path, captions, _, _ = done
    assert compare(path, "--discard-runs", captions=captions)[0] == 0
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "--run", str(world.reports() / "cells/cca-0.5-0")])
    assert end.value.code == 3
    err = capsys.readouterr().err
    assert "cca-0.5-0 was discarded: its comparison has kept the figures alone" in err
    assert "--discard-runs" in err
