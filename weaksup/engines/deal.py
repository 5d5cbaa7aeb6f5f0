"""Deal the shards of an extraction out to a crew, and again where a worker dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from weaksup.analyser import ATTRIBUTE_SLOTS, Traits
from weaksup.engines.crew import Crew, Died, Event, Failed, Finished, Ready, Step
from weaksup.errors import DataError, MissingDependencyError, UsageError
from weaksup.extract import Extraction, ExtractionReport, Opened, Progress, Shard
from weaksup.store import StoreBusyError, StorePlan
from weaksup.wording import first_few

# Workers that die one after the other, on one group of images or before their models are built.
ATTEMPTS = 3
# A lock may outlive the worker that held it: for seconds where Ray finds out before the machine
# does, and on NFS for about as long as this.
BUSY_SECONDS = 120.0
AGAIN_SECONDS = 2.0
# What kept workers from starting, such as memory that others have, may be over after this.
RETRY_SECONDS = 300.0
POLL_SECONDS = 0.5
NOTICE_SECONDS = 30.0

Notify = Callable[[str], object]


@dataclass
class _Task:
    """One shard on its way.

    Attributes:
        before: its images that an earlier run had committed; None until a worker has looked.
        done: its images that are committed.
        deaths: workers that it has cost since it last got on.
        lost: when its worker died.
        not_before: when it may be given again.
    """

    shard: Shard
    before: int | None = None
    done: int = 0
    deaths: int = 0
    lost: float = -BUSY_SECONDS
    not_before: float = 0.0


class RemoteError(Exception):
    """Where a worker raised, as text: the cause of the same error here."""


class Dealer:
    """Who does what: a shard is written by one worker at a time, and by another if that one dies.

    Args:
        crew: entered; it is not ended here.
        plan: what is to be done, from what the models bring.
        shards: into how many it divides the store.
        opened: called with the vocabulary once nothing that is in the way has been found.
        progress: called after each group.
        notify: called with a sentence when a worker has died or none comes.
    """

    def __init__(
        self,
        crew: Crew,
        plan: Callable[[Traits], Extraction],
        *,
        shards: int,
        opened: Opened,
        progress: Progress,
        notify: Notify,
    ) -> None:
        self._crew, self._plan = crew, plan
        self._opened, self._progress, self._notify = opened, progress, notify
        self._unfinished = shards
        self._traits: Traits | None = None
        self._extraction: Extraction | None = None
        self._tasks: list[_Task] = []
        self._waiting: list[_Task] = []
        self._starting: set[int] = set()
        self._idle: set[int] = set()
        self._busy: dict[int, _Task] = {}
        self._bad_starts = 0  # one after the other
        self._bad_start = ""  # why the last of them ended
        self._retry = 0.0  # when one is tried again after too many of them

    def run(self) -> ExtractionReport:
        """Extract all shards; the same bytes as ``weaksup.extract.extract`` (docs/clusters.md).

        Raises:
            UsageError, DataError, MissingDependencyError: what ``extract`` raises, here or in a
                worker, and if workers differ in what they would write.
            DataError: if workers die on the same images again and again.
            MissingDependencyError: if workers die again and again before they have begun, and no
                other one is left.
        """
        began, noticed = time.monotonic(), False
        while self._unfinished:
            self._recruit()
            self._deal()
            for worker, event in self._crew.wait(POLL_SECONDS):
                self._take(worker, event)
            nobody = self._crew.asks and not self._idle and not self._busy
            if nobody and not noticed and time.monotonic() - began > NOTICE_SECONDS:
                noticed = True
                self._notify(f"no worker has started yet; each asks for {self._crew.asks}")
        self._open()
        assert self._extraction is not None
        return self._extraction.finish(done_before=sum(task.before or 0 for task in self._tasks))

    def _recruit(self) -> None:
        if self._bad_starts < ATTEMPTS:
            for _ in range(self._missing()):
                self._starting.add(self._crew.start())
        elif self._there():
            if self._missing() > 0 and not self._starting and time.monotonic() >= self._retry:
                self._starting.add(self._crew.start())
        else:
            raise MissingDependencyError(
                f"{self._bad_starts} workers, one after the other, ended before they had begun: "
                f"{self._bad_start}",
                "every worker needs memory for the models, and every machine the same version "
                "of weaksup",
            )

    def _there(self) -> int:
        return len(self._starting) + len(self._idle) + len(self._busy)

    def _missing(self) -> int:
        """How many workers more there may be."""
        return min(self._crew.size, self._unfinished) - self._there()

    def _deal(self) -> None:
        now = time.monotonic()
        for task in [task for task in self._waiting if task.not_before <= now]:
            if not self._idle:
                return
            worker = self._idle.pop()
            self._waiting.remove(task)
            self._busy[worker] = task
            self._crew.give(worker, task.shard)

    def _take(self, worker: int, event: Event) -> None:
        if isinstance(event, Ready):
            self._starting.discard(worker)
            self._idle.add(worker)
            self._bad_starts = 0
            self._agree(event.traits)
        elif isinstance(event, Step):
            self._step(self._busy[worker], event.done)
        elif isinstance(event, Finished):
            del self._busy[worker]
            self._idle.add(worker)
            self._unfinished -= 1
        elif isinstance(event, Failed):
            self._failed(worker, event)
        else:
            self._died(worker, event)

    def _agree(self, traits: Traits) -> None:
        if self._traits is None:
            self._traits = traits
            self._extraction = self._plan(traits)
            self._tasks = [_Task(shard) for shard in self._extraction.shards]
            self._waiting = list(self._tasks)
        elif traits != self._traits:
            differences = _as_plan(self._traits).differences(_as_plan(traits))
            raise UsageError(
                "the workers do not agree in what to write: "
                + first_few(differences, separator="; "),
                "name one --device and one --precision, and give all machines the same weights "
                "and the same version of weaksup",
            )

    def _step(self, task: _Task, done: int) -> None:
        if task.before is None:
            task.before = task.done = done
            if done < len(task.shard.images):
                self._open()
        elif done > task.done:
            task.done, task.deaths = done, 0
            total = sum(len(task.shard.images) for task in self._tasks)
            finished = sum(task.done for task in self._tasks)
            before = sum(task.before or 0 for task in self._tasks)
            self._progress(finished, total, finished - before)

    def _open(self) -> None:
        assert self._extraction is not None
        self._opened(self._extraction.vocabulary)
        self._opened = lambda _: None

    def _failed(self, worker: int, event: Failed) -> None:
        task = self._busy.pop(worker, None)
        now = time.monotonic()
        if (
            task is None
            or not isinstance(event.error, StoreBusyError)
            or now - task.lost > BUSY_SECONDS
        ):
            raise event.error from RemoteError(event.trace)
        # Most likely the lock of the worker that died.
        task.not_before = now + AGAIN_SECONDS
        self._waiting.append(task)
        self._idle.add(worker)

    def _died(self, worker: int, event: Died) -> None:
        self._idle.discard(worker)
        if worker in self._starting:
            self._starting.discard(worker)
            self._bad_starts += 1
            self._bad_start = event.reason
            self._retry = time.monotonic() + RETRY_SECONDS
        else:
            # It leaves its memory and its GPU to a new one.
            self._bad_starts = 0
        task = self._busy.pop(worker, None)
        if task is None:
            self._ended(event.reason)
            return
        task.deaths += 1
        task.lost = time.monotonic()
        name = task.shard.path.name
        if task.deaths == ATTEMPTS:
            raise DataError(
                f"{ATTEMPTS} workers, one after the other, died on {name}, {_next_images(task)}: "
                f"{event.reason}",
                "if memory was short, take fewer --processes; if an image is to blame, make its "
                "file empty, so that it counts as unreadable. The same command then goes on",
            )
        self._notify(f"a worker died ({event.reason}); another one goes on with {name}")
        self._waiting.insert(0, task)

    def _ended(self, reason: str) -> None:
        """Say what follows, if anything does, where a worker has ended that had no shard."""
        if self._missing() < 1:
            return
        if self._bad_starts < ATTEMPTS:
            self._notify(f"a worker ended ({reason}); another one starts")
        elif self._bad_starts == ATTEMPTS and self._there():
            self._notify(
                f"{ATTEMPTS} workers ended before they had begun ({reason}); the others go on, and "
                f"every {RETRY_SECONDS / 60:.0f} minutes another start is tried"
            )


def _next_images(task: _Task) -> str:
    """Those that come next, read-ahead counted in: nobody has got through them."""
    shard = task.shard
    ahead = [image for image, _ in shard.images[task.done : task.done + 2 * shard.group_size]]
    return f"images {ahead[0]} to {ahead[-1]}" if ahead else "all its images done"


def _as_plan(traits: Traits) -> StorePlan:
    """To say in what two differ as a store would."""
    return StorePlan(
        ids=(),
        feature_size=traits.feature_size,
        attribute_slots=ATTRIBUTE_SLOTS,
        objects=traits.objects,
        attributes=traits.attributes,
        provenance=traits.provenance,
        class_slots=traits.class_slots,
        classes=traits.classes,
    )
