"""``weaksup train`` as a launcher starts it: one run on two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from trainer.checkpoint import STATE
from weaksup.cli import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

# No dropout: each process has random numbers of its own for it.
COMMAND = [
    *("train", "--model", "a3vse", "--epochs", "40", "--set", "text.dropout=0"),
    *("--set", "embed_size=8", "--set", "word_size=6", "--set", "heads=2"),
    *("--set", "batch_size=5", "--set", "device=cpu", "--set", "min_count=1"),
    *("--set", "cca.directions=4", "--set", "regions.dropout=0"),
]


class Launched:
    """A launcher and its two processes, which end with the block."""

    def __init__(self, launcher):
        self.process = subprocess.Popen(
            [*launcher, "-m", "weaksup.cli", *COMMAND],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate(timeout=60)

    def rank(self, wanted):
        """The process id of a rank."""
        launcher = self.process.pid
        for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"RANK={wanted}".encode() in environment:
                return int(pid)
        raise AssertionError(f"no rank {wanted}")

    def wait_for(self, metrics, lines):
        deadline = time.monotonic() + 120
        while not metrics.exists() or metrics.read_text().count("\n") < lines:
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self):
        """What it printed; it must not hang."""
        out, err = self.process.communicate(timeout=120)
        assert "Traceback" not in err.split("ChildFailedError")[0].split("torch/distributed")[0]
        return self.process.returncode, out, err


TORCHRUN = [sys.executable, *("-m", "torch.distributed.run", "--standalone")]
TORCHRUN += ["--nproc-per-node", "2"]
# It starts two processes whatever the device is; `device=cpu` says that.
ACCELERATE = [sys.executable, *("-m", "accelerate.commands.launch", "--multi_gpu")]
ACCELERATE += ["--num_processes", "2", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no"]


@pytest.fixture
def alone(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as end:
            main([*COMMAND, *words])
        return end.value.code, *capsys.readouterr()

    return call


def events(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def done(folder):
    """Steps at the saved state."""
    position = torch.load(folder / STATE, weights_only=True)["position"]
    return position["epoch"] * 3 + position["step"]


def test_one_process_goes_on_with_what_two_began(prepared, alone):
    folder = prepared / "runs" / "a3vse"
    with Launched(TORCHRUN) as launched:
        launched.wait_for(folder / "metrics.jsonl", 9)
        # The second process is in the run; another command is not.
        os.kill(launched.rank(0), signal.SIGSTOP)
        code, _, err = alone()
        os.kill(launched.rank(0), signal.SIGCONT)
        assert (code, "another process is training" in err) == (2, True)
        launched.process.send_signal(signal.SIGTERM)
        code, out, err = launched.end()
    assert code != 0
    assert out == ""
    assert "interrupted; what was done so far is kept" in err
    step = done(folder)
    assert 6 <= step < 120
    assert not (folder / "lock").exists()

    code, _, err = alone()
    assert code == 0, err
    assert f"resuming {folder}" in err
    code, _, err = alone("--name", "whole")
    assert code == 0, err
    # Rounding differs, and grows: nothing else may differ around the change.
    found, expected = (
        [event for event in events(prepared / "runs" / name) if event["step"] <= step + 15]
        for name in ("a3vse", "whole")
    )
    assert len(found) > 15
    for one, other in zip(found, expected, strict=True):
        assert one.pop("kind") == other.pop("kind")
        assert one == pytest.approx(other, rel=5e-3, abs=1e-4)
    assert [e["step"] for e in events(folder)] == [
        e["step"] for e in events(prepared / "runs" / "whole")
    ]


def test_what_ends_one_process_ends_both(prepared):
    folder = prepared / "runs" / "a3vse"
    with Launched(TORCHRUN) as launched:
        launched.wait_for(folder / "metrics.jsonl", 9)
        os.kill(launched.rank(1), signal.SIGINT)
        code, _, err = launched.end()
    assert code != 0
    assert "exitcode  : 130" in err
    assert "interrupted; what was done so far is kept" in err
    step = done(folder)

    with Launched(ACCELERATE) as launched:
        launched.wait_for(folder / "metrics.jsonl", step + step // 3 + 9)
        os.kill(launched.rank(1), signal.SIGKILL)
        code, _, err = launched.end()
    assert code != 0
    assert "another process of this run has ended" in err
    # The last whole epoch is kept.
    assert done(folder) > step
    assert done(folder) % 3 == 0

    with Launched(TORCHRUN) as launched:
        code, out, err = launched.end()
    assert code == 0, err
    assert out.count("written: ") == out.count("next: `weaksup evaluate`") == 1
    assert err.count("resuming ") == 1
    assert [e["step"] for e in events(folder) if e["kind"] == "step"] == list(range(1, 121))
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "model.safetensors", "vocabulary.json", "metrics.jsonl", "tensorboard")
    }
