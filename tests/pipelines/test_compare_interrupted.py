"""Comparisons that are interrupted, doubled or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipelines.compare.cell import run_cell
from pipelines.compare.config import load_comparison
from pipelines.compare.plan import plan_cells

LONG = 'models = ["a3vse"]\nratios = [0.5]\nseeds = [0, 1]\n'
EPOCHS = ("epochs = 1\n", "epochs = 20\n")


@pytest.fixture
def start(world):
    """Start a long comparison in a process of its own, and wait until it is in the middle."""
    path, captions = world.config(LONG), world.captions()
    path.write_text(path.read_text().replace(*EPOCHS))
    processes = []

    def begin(*words, cell="a3vse-0.5-0"):
        process = subprocess.Popen(
            world.command(path, captions, *words),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        metrics = world.reports() / "cells" / cell / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not metrics.exists() or metrics.read_text().count("\n") < 12:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return process

    yield begin, path, captions
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "number", "everybody"),
    # A terminal sends Ctrl-C to all processes of a group, `kill` to one.
    [(1, signal.SIGTERM, False), (2, signal.SIGINT, True)],
)
def test_an_interrupted_comparison_goes_on(start, world, compare, jobs, number, everybody):
    begin, path, captions = start
    process = begin("--jobs", jobs)
    if everybody:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "interrupted; what was done so far is kept" in message
    assert "Traceback" not in message
    cells = world.reports() / "cells"
    assert (cells / "a3vse-0.5-0/last.pt").exists()
    assert not (cells / "a3vse-0.5-0/cell.json").exists()
    spent = json.loads((cells / "a3vse-0.5-0/progress.json").read_text())["seconds"]
    code, _, err = compare(path, "--jobs", jobs, captions=captions)
    assert code == 0, err
    assert world.results()[0]["seconds"] > spent > 0
    # As if it had never been interrupted.
    whole = path.with_name("whole.toml")
    whole.write_text(path.read_text())
    assert compare(whole, captions=captions)[0] == 0
    assert world.figures("whole") == world.figures()
    for cell in ("a3vse-0.5-0", "a3vse-0.5-1"):
        weights = [
            (world.reports(name) / "cells" / cell / "model.safetensors").read_bytes()
            for name in ("small", "whole")
        ]
        assert weights[0] == weights[1]
        steps = (world.reports() / "cells" / cell / "metrics.jsonl").read_text().splitlines()
        numbers = [json.loads(s)["step"] for s in steps if json.loads(s)["kind"] == "step"]
        assert numbers == list(range(1, len(numbers) + 1))


def test_two_processes_do_not_write_one_comparison(start, world, compare):
    begin, path, captions = start
    process = begin()
    process.send_signal(signal.SIGSTOP)
    code, out, err = compare(path, captions=captions)
    process.send_signal(signal.SIGCONT)
    assert (code, out) == (2, "")
    assert "another process is comparing in" in err
    assert "another `name`" in err


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_apart_from_a_result(start, world, compare):
    begin, path, captions = start
    process = begin("--jobs", 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("no /proc to find the workers in")
    for child in children.read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)
            break
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "has ended with -9" in message
    assert "fewer --jobs" in message
    assert compare(path, captions=captions)[0] == 0
    assert len(world.results()) == 2


class SignalAtTheEnd:
    """A logger to which the user presses Ctrl-C in the last step that there is."""

    def __init__(self, plan):
        self.last = plan.total_steps

    def log(self, event):
        if event.kind == "step" and event.step == self.last:
            os.kill(os.getpid(), signal.SIGINT)

    def close(self):
        pass


def test_a_signal_in_the_last_step_of_a_cell_is_not_forgotten(world, tmp_path):
    comparison = load_comparison(world.config('models = ["vsepp"]\nratios = [0.5]\nseeds = [0]\n'))
    (cell,), data = plan_cells(comparison), world.data(world.captions())
    folder = tmp_path / "cell"
    with pytest.raises(KeyboardInterrupt):
        run_cell(
            cell,
            data,
            folder=folder,
            protocols=["full"],
            make_loggers=lambda plan: [SignalAtTheEnd(plan)],
        )
    weights = (folder / "model.safetensors").stat().st_mtime_ns
    run_cell(cell, data, folder=folder, protocols=["full"])
    assert (folder / "cell.json").exists()
    assert (folder / "model.safetensors").stat().st_mtime_ns == weights
