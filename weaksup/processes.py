"""Processes that work for a command: their share of the machine, and no Ctrl-C of their own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker

# What libraries read when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_variables(threads: int) -> dict[str, str]:
    """Variables that keep a process to so many threads, but for those that the user has set."""
    return {name: str(threads) for name in _THREADS if name not in os.environ}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables for processes that are started within."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started within never see SIGINT, which a terminal sends to all of a group.

    Who has started them ends them, in its own way. A blocked signal stays blocked in the child, and
    reaches us at the end.
    """
    if sys.platform == "win32":
        yield
        return
    # Started now, since its start lets SIGINT through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
