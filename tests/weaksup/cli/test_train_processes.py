"""``weaksup train`` as a launcher starts it: one run on two processes."""

from __future__ import annotations

import json
import os
import shutil
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

EPOCHS, STEPS = 30, 90
# No dropout: each process has random numbers of its own for it.
COMMAND = [
    *("train", "--model", "a3vse", "--epochs", str(EPOCHS), "--set", "text.dropout=0"),
    *("--set", "embed_size=8", "--set", "word_size=6", "--set", "heads=2"),
    *("--set", "batch_size=5", "--set", "device=cpu", "--set", "min_count=1"),
    *("--set", "cca.directions=4", "--set", "regions.dropout=0"),
]


class Launched:
    """A launcher and its two processes, which end with the block."""

    def __init__(self, launcher, words=None):
        self.process = subprocess.Popen(
            [*launcher, *(words or ("-m", "weaksup.cli", *COMMAND))],
            start_new_session=True,
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
        deadline = time.monotonic() + 300
        while not metrics.exists() or metrics.read_text().count("\n") < lines:
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self):
        """What it printed; it must not hang."""
        out, err = self.process.communicate(timeout=300)
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


def messages(err):
    return [line for line in err.splitlines() if line.startswith("error: ")]


def test_a_run_goes_on_after_interruption_and_loss_with_other_numbers_of_processes(prepared, alone):
    runs = prepared / "runs"
    folder = runs / "a3vse"
    with Launched(TORCHRUN) as launched:
        launched.wait_for(folder / "metrics.jsonl", 9)
        # The second process is in the run; another command is not.
        os.kill(launched.rank(0), signal.SIGSTOP)
        code, _, err = alone()
        os.kill(launched.rank(0), signal.SIGCONT)
        assert (code, "another process is training" in err) == (2, True)
        # As a terminal does: to the launcher, which passes it on, and to all that it has started.
        os.killpg(launched.process.pid, signal.SIGINT)
        code, out, err = launched.end()
    assert code != 0
    assert out == ""
    assert messages(err) == ["error: interrupted; what was done so far is kept"]
    step = done(folder)
    assert 6 <= step < STEPS
    assert not (folder / "lock").exists()

    shutil.copytree(folder, runs / "one")
    code, _, err = alone("--name", "one")
    assert code == 0, err
    assert f"resuming {runs / 'one'}" in err
    code, _, err = alone("--name", "whole")
    assert code == 0, err
    # Rounding differs, and grows: nothing else may differ around the change.
    found, expected = (
        [event for event in events(runs / name) if event["step"] <= step + 15]
        for name in ("one", "whole")
    )
    assert len(found) > 15
    for one, other in zip(found, expected, strict=True):
        assert one.pop("kind") == other.pop("kind")
        assert one == pytest.approx(other, rel=5e-3, abs=1e-4)

    with Launched(ACCELERATE) as launched:
        launched.wait_for(folder / "metrics.jsonl", step + step // 3 + 9)
        os.kill(launched.rank(1), signal.SIGKILL)
        code, _, err = launched.end()
    assert code != 0
    assert len(messages(err)) == 1
    assert "another process of this run has ended" in err
    # The last whole epoch is kept.
    assert done(folder) > step
    assert done(folder) % 3 == 0

    with Launched(TORCHRUN) as launched:
        code, out, err = launched.end()
    assert code == 0, err
    assert out.count("written: ") == out.count("next: `weaksup evaluate`") == 1
    assert err.count("resuming ") == 1
    assert [e["step"] for e in events(folder) if e["kind"] == "step"] == list(range(1, STEPS + 1))
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "model.safetensors", "vocabulary.json", "metrics.jsonl", "tensorboard")
    }


# As where one machine does not see the files of the others.
OTHERWISE = "if os.environ['RANK'] == '1': os.environ['WEAKSUP_WORKSPACE'] = 'elsewhere'"


@pytest.mark.parametrize(
    ("code", "before", "words"),
    [
        pytest.param(3, OTHERWISE, (), id="of one"),
        pytest.param(2, "", ("--set", "bach_size=3"), id="of all"),
        pytest.param(2, "", ("--epoks", "3"), id="of all, on the line"),
    ],
)
def test_an_error_is_said_once_and_ends_all(prepared, tmp_path, code, before, words):
    script = tmp_path / "script.py"
    script.write_text(f"import os\n{before}\nfrom weaksup.cli import main\nmain()\n")
    with Launched([*TORCHRUN, str(script)], words=("train", *words)) as launched:
        ended, out, err = launched.end()
    assert (ended, out) == (1, "")
    assert len(messages(err)) == 1, err
    assert f"exitcode  : {code} " in err
