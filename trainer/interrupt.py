"""Ctrl-C and SIGTERM: held back until a step is whole, and nothing to the workers that read."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether a signal has asked training to stop.

    Args:
        grace: seconds after the first signal in which others say nothing new.
    """

    def __init__(self, *, grace: float = 0.0) -> None:
        self.requested = False
        self._grace, self._since = grace, 0.0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
        elif time.monotonic() - self._since >= self._grace:  # asked twice: the user means now
            raise KeyboardInterrupt


@contextmanager
def deferred_interruption(*, grace: float = 0.0) -> Iterator[Interruption]:
    """Note the first SIGINT or SIGTERM instead of acting on it; a second one acts at once.

    Outside the main thread, where Python delivers no signals, nothing is held back.

    Args:
        grace: seconds in which a second one is the first that came twice.
    """
    interruption = Interruption(grace=grace)
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption._handle) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_interruptions(worker: int) -> None:
    """Leave SIGINT and SIGTERM to the process that trains; a ``DataLoader``'s ``worker_init_fn``.

    A terminal and a launcher signal the whole process group. A worker that ended by it would end
    the step under way with an error; left alone, it ends when its loader is done with, or when it
    has no parent any more.

    Args:
        worker: its number.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
