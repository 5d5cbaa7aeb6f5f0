"""The processes of one run: how they find one another, and how they end together.

Launchers (torchrun, accelerate, srun with torchrun) start them and say in the environment who is
who. ``join_world`` owns torch's process group for the whole of its life.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from trainer.distributed import ALONE, LostProcessError, World, exit_code, together
from weaksup.errors import UsageError

# For all to come: they start together, but for what a machine needs to load torch.
JOINING = timedelta(minutes=10)
# The others wait while the first validates, or solves a closed form. A process that dies is
# noticed at once, whatever this is.
PATIENCE = timedelta(hours=12)


@contextmanager
def join_world() -> Iterator[World]:
    """The processes that a launcher has started, joined within the block; alone without one.

    An error in the block ends all of them. The first process that leaves by one raises it, and is
    to tell it; the others raise ``SystemExit`` with its exit code, since what they meet is the
    same, or comes of it. The process is to end then: for the one that tells, SIGINT and SIGTERM
    stay blocked.

    Raises:
        UsageError: if the environment is not a launcher's.
        LostProcessError: if the others do not come within ``JOINING``, or cannot be reached.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        yield ALONE
        return
    missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if n not in os.environ]
    if missing or not size.isdecimal():
        unset = f", and {', '.join(missing)} not set" if missing else ""
        raise UsageError(
            f"no launcher has started this process: WORLD_SIZE is {size}{unset}",
            "start several processes with torchrun or accelerate launch, or unset WORLD_SIZE",
        )
    # Its functions take the group as a default, bound when it is imported, which accelerate does
    # at some time. Bound after `init_process_group`, the group would outlive its destruction, and
    # so would its threads: one that lets go of a tensor while the interpreter ends aborts.
    importlib.import_module("torch.distributed.nn")

    store, rank, count = _meet()
    try:
        _await_all(store, rank, count)
        with together():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=store,
                rank=rank,
                world_size=count,
                timeout=PATIENCE,
            )
        yield World(rank=rank, size=count)
    except BaseException as error:
        code = _code_of_first(store, rank, error)
        _abort()
        if code is not None:
            raise SystemExit(code) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _meet() -> tuple[Any, int, int]:
    """The store in which all meet, this process's rank, and how many there are to be."""
    try:
        store, rank, count = next(rendezvous("env://", timeout=JOINING))
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        raise _not_met(str(error).splitlines()[0]) from error
    return store, rank, count


def _await_all(store: Any, rank: int, count: int) -> None:
    """Wait until every rank is there."""
    names = [f"weaksup/here/{other}" for other in range(count)]
    with together():
        store.set(names[rank], "")
        try:
            store.wait(names, JOINING)
        except dist.DistStoreError as error:
            absent = [str(other) for other in range(count) if not store.check([names[other]])]
            minutes = JOINING.total_seconds() / 60
            raise _not_met(
                f"after {minutes:g} minutes, rank {', '.join(absent)} of {count} is missing"
            ) from error
        # What torch keeps there while it trains is waited for as long as any answer.
        store.set_timeout(PATIENCE)


def _not_met(why: str) -> LostProcessError:
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    return LostProcessError(
        f"the processes of this run have not met at {place}: {why}",
        "look whether each machine has started its processes, with ranks of their own, and "
        f"whether all of them reach {place}",
    )


def _abort() -> None:
    """End what is under way on a GPU: it waits for answers that will not come.

    On a processor nothing is under way. Older torch cannot end it.
    """
    group = dist.group.WORLD
    if group is not None and hasattr(group, "abort"):
        group.abort()


def _code_of_first(store: Any, rank: int, error: BaseException) -> int | None:
    """The exit code of the process that came here first; None if this is the one."""
    if isinstance(error, SystemExit):
        return None
    # The store may be gone, with the process that kept it.
    with suppress(RuntimeError):
        mine = f"{rank} {exit_code(error)}"
        first, code = store.compare_set("weaksup/end", "", mine).split()
        if int(first) != rank:
            return int(code)
    # A launcher ends the others when one has ended: here the error is still to be told.
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    return None
