from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer.device import make_accelerator
from trainer.distributed import ALONE, World
from trainer.launch import join_world
from weaksup.errors import UsageError

HERE = Path(__file__).parent


@pytest.mark.parametrize("count", [0, 1, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_are_all_there_is_in_order(count, size):
    shares = [list(range(count))[World(rank, size).share(count)] for rank in range(size)]
    assert [item for share in shares for item in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_there_is_nothing_to_do(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_world() as world:
        assert world is ALONE
    model, parameter = object(), torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    assert world.encoders(model, key=(0,), fragments=True) is model
    assert world.gather(model, fragments=False) is model
    world.add_gradients([parameter])
    assert parameter.grad.tolist() == [1, 1]
    assert (world.any(True), world.any(False)) == (True, False)
    assert world.on_first(lambda: 7) == 7


@pytest.mark.parametrize(("size", "expected"), [("2", "RANK, MASTER_ADDR"), ("two", "two")])
def test_an_environment_that_no_launcher_has_made_is_refused(monkeypatch, size, expected):
    monkeypatch.setenv("WORLD_SIZE", size)
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=expected), join_world():
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("device", "place"), [("cuda:0", "0"), ("auto", "4096")])
def test_every_process_needs_a_gpu_of_its_own(monkeypatch, device, place):
    monkeypatch.setenv("LOCAL_RANK", place)
    with pytest.raises(UsageError, match="processes"):
        make_accelerator(device=device, precision="auto", world=World(0, 2))


@pytest.mark.slow
def test_two_processes(tmp_path):
    """All of ``in_two_processes.py``, as a launcher starts it."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
            str(HERE / "in_two_processes.py"),
        ],
        cwd=HERE.parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(" passed") == 2
