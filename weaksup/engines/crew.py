"""What an engine offers: workers that can be started, given a shard, and listened to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from weaksup.analyser import Traits
from weaksup.extract import Shard


@dataclass(frozen=True)
class Ready:
    """The models are built: a shard can be given."""

    traits: Traits


@dataclass(frozen=True)
class Step:
    """So many images of the shard are committed."""

    done: int


@dataclass(frozen=True)
class Finished:
    """The shard is whole: another one can be given."""


@dataclass(frozen=True)
class Failed:
    """What the worker was doing has raised; the worker itself lives.

    Attributes:
        error: a ``UserError``, an ``OSError`` of a disk or a folder, or a ``RuntimeError`` that
            stands for a defect.
        trace: where it was raised, as text.
    """

    error: Exception
    trace: str


@dataclass(frozen=True)
class Died:
    """The worker is no more, for whatever reason: a kill, a machine that is gone."""

    reason: str


Event = Ready | Step | Finished | Failed | Died


class Crew(AbstractContextManager["Crew"], Protocol):
    """The workers of one engine; at the end of the block all of them end.

    That may cut short what they do: everything that is committed stays.

    Attributes:
        size: how many workers there may be.
        asks: what a worker waits for before it starts, to tell whoever waits for one; empty if
            for nothing.
    """

    size: int
    asks: str

    def start(self) -> int:
        """Begin to start one more worker; its number. ``Ready`` follows sooner or later."""

    def give(self, worker: int, shard: Shard) -> None:
        """Have a worker that does nothing extract a shard."""

    def wait(self, seconds: float) -> Sequence[tuple[int, Event]]:
        """(worker, event) of what has happened; waits so long at most for the first."""
