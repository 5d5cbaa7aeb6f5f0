"""Ctrl-C and the like, held back while they could only do harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class HeldSignals:
    """Which signals have come."""

    def __init__(self) -> None:
        self.come: list[int] = []

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come: here is a good place to stop."""
        if self.come:
            raise KeyboardInterrupt


@contextmanager
def held_signals() -> Iterator[HeldSignals]:
    """Note SIGINT and SIGTERM within the block, and act on them at its end.

    A Python handler may raise at the start and after the calls of any function. In one that HDF5
    calls back, that makes HDF5 believe that the disk has failed; in one of ``threading`` that has
    just taken a lock, the lock is never given back, and whoever waits for it waits for ever.
    Signals that no Python code handles are left alone: they end the process or do nothing. So is
    everything outside of the main thread, where no handler runs.
    """
    held = HeldSignals()
    before = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {number: handler for number, handler in found.items() if callable(handler)}

    def note(number: int, frame: FrameType | None) -> None:
        held.come.append(number)

    try:
        for number in before:
            signal.signal(number, note)
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held.come:
            # Its own handler says what becomes of it, and raises, in place of what check() raised.
            signal.raise_signal(held.come[0])
