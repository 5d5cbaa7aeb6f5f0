"""Who does what, with workers in this process: what goes wrong comes when it is wanted."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections import deque
from dataclasses import replace

import pytest

from weaksup.engines import deal as dealing
from weaksup.engines.crew import Died, Finished
from weaksup.engines.worker import Worker
from weaksup.errors import MissingDependencyError, UsageError
from weaksup.store import StoreBusyError
from weaksup.store.schema import journal_folder

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


class Here:
    """A crew without processes: a worker does all that it is asked for at once."""

    asks = ""

    def __init__(self, *choices):
        self.size = len(choices)
        self.workers = [Worker(choice, batch_size=1, threads=1) for choice in choices]
        self.events = deque()
        self.started = 0

    def __enter__(self):
        return self

    def __exit__(self, *error): ...

    def start(self):
        number, self.started = self.started % self.size, self.started + 1
        self.events.append((number, self.workers[number].prepare()))
        return number

    def give(self, worker, shard):
        self.events.extend((worker, event) for event in self.workers[worker].extract(shard))

    def wait(self, seconds):
        return [self.events.popleft()] if self.events else []


class Locking(Here):
    """Its worker dies of the first shard, whose lock another process then has."""

    holder = None

    def __init__(self, *choices, release):
        super().__init__(*choices)
        self.release, self.refused = release, 0

    def __exit__(self, *error):
        self.let_go()

    def let_go(self):
        self.holder.communicate()

    def give(self, worker, shard):
        if self.holder is not None:
            super().give(worker, shard)
            return
        folder = journal_folder(shard.path)
        folder.mkdir(parents=True)
        self.holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder / "lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout.readline() == "held\n"
        self.events.append((worker, Died("by a test")))

    def wait(self, seconds):
        events = super().wait(seconds)
        if any(isinstance(getattr(event, "error", None), StoreBusyError) for _, event in events):
            self.refused += 1
            if self.release and self.refused == 2:
                self.let_go()
        return events


class Badly(Here):
    """Only its first worker begins, and ends after so many shards, with its machine."""

    def __init__(self, choice, *, shards):
        super().__init__(choice, choice)
        self.left = shards

    def start(self):
        number, self.started = self.started, self.started + 1
        self.events.append((number, Died("by a test") if number else self.workers[0].prepare()))
        return number

    def give(self, worker, shard):
        if not self.left:
            self.events.append((worker, Died("its machine is gone")))
            return
        self.left -= 1
        super().give(worker, shard)


def test_starts_that_fail_leave_the_work_to_the_workers_there_are(models, deal, alone, contents):
    crew, told = Badly(models, shards=5), []
    report = deal(crew, "dealt", shards=5, notify=told.append)
    assert contents(report.store) == alone
    assert crew.started == 1 + dealing.ATTEMPTS
    another = "a worker ended (by a test); another one starts"
    others = (
        "3 workers ended before they had begun (by a test); the others go on, and every 5 minutes "
        "another start is tried"
    )
    assert told == [another, another, others]


def test_starts_that_fail_end_it_once_nobody_is_left(models, deal, tmp_path):
    with pytest.raises(MissingDependencyError, match="before they had begun: by a test"):
        deal(Badly(models, shards=2), "dealt")
    assert (tmp_path / "dealt" / "regions-00001-of-00003.h5").exists()


class Scarce(Here):
    """Memory for two workers, of which something else has one's for some starts.

    Its first worker ends when it is given its third shard, if that is wanted.
    """

    def __init__(self, choice, *, failing, ends=False):
        super().__init__(choice, choice)
        self.failing, self.ends, self.given = failing, ends, []

    def start(self):
        number, self.started = self.started, self.started + 1
        if number in self.failing:
            self.events.append((number, Died("by a test")))
        else:
            self.events.append((number, self.workers[0].prepare()))
        return number

    def give(self, worker, shard):
        self.given.append(worker)
        if self.ends and self.given == [0, 0, 0]:
            self.events.append((worker, Died("memory was short")))
        else:
            self.events.extend((worker, event) for event in self.workers[0].extract(shard))


def test_a_start_is_tried_again_while_others_work(models, deal, alone, contents, monkeypatch):
    monkeypatch.setattr(dealing, "RETRY_SECONDS", 0.0)
    crew, told = Scarce(models, failing={1, 2, 3, 4}), []
    report = deal(crew, "dealt", shards=9, notify=told.append)
    assert contents(report.store) == alone
    assert set(crew.given) == {0, 5}
    # Of those after the third nothing is said.
    assert len(told) == 3


def test_after_failed_starts_a_dead_worker_is_replaced(models, deal, alone, contents):
    crew, told = Scarce(models, failing={1, 2, 3}, ends=True), []
    report = deal(crew, "dealt", shards=5, notify=told.append)
    assert contents(report.store) == alone
    assert 4 in crew.given
    assert told[-1] == (
        "a worker died (memory was short); another one goes on with regions-00002-of-00005.h5"
    )


class Waning(Here):
    """A worker ends as soon as it has nothing to do any more; the other one has the last shard."""

    def wait(self, seconds):
        events = super().wait(seconds)
        if [event for _, event in events] == [Finished()] and self.events:
            self.events.appendleft((events[0][0], Died("by a test")))
        return events


def test_nothing_is_said_of_a_worker_for_which_no_shard_is_left(models, deal, alone, contents):
    crew, told = Waning(models, models), []
    report = deal(crew, "dealt", shards=2, notify=told.append)
    assert contents(report.store) == alone
    assert (told, crew.started) == ([], 2)


def test_the_shard_of_a_dead_worker_is_tried_until_its_lock_is_given_up(
    models, deal, alone, contents, monkeypatch
):
    monkeypatch.setattr(dealing, "AGAIN_SECONDS", 0.01)
    crew, told = Locking(models, release=True), []
    report = deal(crew, "dealt", notify=told.append)
    assert crew.refused == 2
    assert contents(report.store) == alone
    assert len(told) == 1
    assert "by a test" in told[0]


def test_a_lock_that_stays_ends_it(models, deal, monkeypatch):
    monkeypatch.setattr(dealing, "BUSY_SECONDS", 0.0)
    with pytest.raises(StoreBusyError):
        deal(Locking(models, release=False), "dealt")


def test_workers_that_would_write_different_stores_are_refused(models, deal):
    other = replace(models, options=replace(models.options, score_threshold=0.7))
    with pytest.raises(UsageError, match=r"do not agree.*score_threshold"):
        deal(Here(models, other), "dealt")


def test_what_a_folder_refuses_stays_an_error_of_the_system(models, deal, tmp_path):
    (tmp_path / "dealt.json").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        deal(Here(models), "dealt")
    assert caught.value.errno == errno.EISDIR
    assert caught.value.filename == str(tmp_path / "dealt.json")
