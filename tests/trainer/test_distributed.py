from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from trainer import launch
from trainer.device import make_accelerator
from trainer.distributed import ALONE, LostProcessError, World, together
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


# Where gloo's messages say that they come from.
GLOO = "[/build/third_party/gloo/gloo/transport/tcp/"
ENDING = """
import os
from trainer.distributed import LostProcessError
from trainer.launch import join_world
try:
    with join_world() as world:
        world.any(True)
        if not world.first:
            os._exit(0)
        while True:
            world.any(True)
except LostProcessError as error:
    print(error.message, flush=True)
"""


@pytest.fixture
def expected_two(monkeypatch):
    """The only process of two, in a launcher's environment; it does not wait long. Its port."""
    free = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(launch, "JOINING", timedelta(seconds=2))
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(free.port))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield free.port
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_rank_that_does_not_come_is_named(expected_two):
    with pytest.raises(LostProcessError) as caught, join_world():
        pass
    where = f"127.0.0.1:{expected_two}"
    assert caught.value.message.startswith(f"the processes of this run have not met at {where}: ")
    assert caught.value.message.endswith(" minutes, rank 0 of 2 is missing")
    assert f"reach {where}" in caught.value.hint
    assert not dist.is_initialized()


def test_a_meeting_place_to_which_nobody_comes(expected_two, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(LostProcessError, match=r"have not met at .*1/2 clients"), join_world():
        pass


def free_port():
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False).port


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError(f"{GLOO}pair.cc:534] Connection closed by peer [::1]:5"), True),
        (RuntimeError(f"{GLOO}pair.cc:545] Read error [::1]:5: whatever it is called"), True),
        (RuntimeError(f"{GLOO}unbound_buffer.cc:78] Timed out waiting 1000ms for recv"), True),
        (RuntimeError(f"Gloo connectFullMesh failed with {GLOO}pair.cc:144] no error"), True),
        (RuntimeError("[enforce fail at /gloo/transport/tcp/pair.cc:446] 20 vs 12"), False),
        (RuntimeError(f"{GLOO}device.cc:84] Unable to find address for: timeout"), False),
        (RuntimeError("the timeout of something else"), False),
        (dist.DistNetworkError("Failed to recv, got 0 bytes."), True),
        (dist.DistStoreError("wait failed after 2000ms"), True),
        (dist.DistBackendError("NCCL error in: x.hpp:1, remote process exited or there was"), True),
        (dist.DistBackendError("NCCL error in: x.hpp:1\nncclRemoteError: A call failed"), True),
        (dist.DistBackendError("Watchdog caught collective operation timeout: WorkNCCL(3)"), True),
        (dist.DistBackendError("NCCL error in: x.hpp:1, unhandled cuda error"), False),
        (dist.DistBackendError("NCCL error in: x.hpp:1\nncclInvalidUsage: timeout"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"), False),
    ],
)
def test_only_what_is_said_of_others_is_a_lost_process(error, lost):
    with pytest.raises(LostProcessError if lost else type(error)) as caught, together():
        raise error
    assert isinstance(caught.value, LostProcessError) == lost


def test_a_process_that_ends_is_recognised_by_what_this_torch_says_of_it():
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", ENDING],
            env={**os.environ, **place, "RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    said = [rank.communicate(timeout=300) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert said[0][0].startswith("another process of this run has ended: ")


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
