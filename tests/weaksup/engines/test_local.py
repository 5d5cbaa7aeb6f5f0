"""Several processes write one store; some of them are killed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from weaksup.engines.crew import Step
from weaksup.engines.local import LocalCrew
from weaksup.errors import DataError, MissingDependencyError, UsageError


class KillingOnce(LocalCrew):
    """Kills the first worker that says that one image is committed."""

    killed = False

    def wait(self, seconds):
        events = super().wait(seconds)
        for worker, event in events:
            if event == Step(1) and not self.killed:
                self.killed = True
                os.kill(self._workers[worker].process.pid, signal.SIGKILL)
        return events


class KillingAll(LocalCrew):
    """Kills every worker that is given the second shard."""

    def give(self, worker, shard):
        super().give(worker, shard)
        if shard.path.name.startswith("regions-00001"):
            os.kill(self._workers[worker].process.pid, signal.SIGKILL)


def test_processes_write_what_one_alone_writes(extract, models, contents, alone, tmp_path):
    opened, steps = [], []
    report = extract(
        models,
        "four",
        shards=4,
        processes=2,
        opened=lambda _: opened.append(True),
        progress=lambda *at: steps.append(at),
    )
    assert contents(report.store) == alone
    assert len(list((tmp_path / "four").glob("regions-*-of-00004.h5"))) == 4
    words, words_alone = (
        json.loads((tmp_path / name).read_text()) for name in ("four.json", "alone.h5.json")
    )
    # They differ in nothing but in whose they are.
    assert (words.pop("store"), words_alone.pop("store")) == ("four", "alone.h5")
    assert words == words_alone
    assert (report.images, report.done_before, len(report.unreadable)) == (11, 0, 1)
    assert opened == [True]
    assert steps == sorted(steps)
    assert steps[-1] == (11, 11, 11)


def test_finished_shards_stay_and_that_of_a_killed_worker_is_done_by_another(
    extract, deal, models, contents, alone, tmp_path
):
    def stop(done, total, fresh):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(models, "store", shards=3, progress=stop)
    whole = sorted((tmp_path / "store").glob("*.h5"))
    assert [path.name for path in whole] == [f"regions-0000{n}-of-00003.h5" for n in (0, 1)]
    before = [path.stat().st_mtime_ns for path in whole]
    told, steps = [], []
    crew = KillingOnce(models, processes=2, batch_size=1)
    report = deal(crew, "store", notify=told.append, progress=lambda *at: steps.append(at))
    assert contents(report.store) == alone
    assert report.done_before == 8
    # What was done before is no work of this run, whenever a worker finds it.
    assert all(fresh <= 3 for _, _, fresh in steps)
    assert steps[-1] == (11, 11, 3)
    assert [path.stat().st_mtime_ns for path in whole] == before
    died = [text for text in told if "died" in text]
    assert len(died) == 1
    assert "SIGKILL" in died[0]
    assert "regions-00002-of-00003.h5" in died[0]


def test_a_shard_that_kills_every_worker_is_named(deal, models, tmp_path):
    with pytest.raises(DataError) as caught:
        deal(KillingAll(models, processes=1, batch_size=1), "dealt")
    assert "3 workers" in caught.value.message
    assert "regions-00001-of-00003.h5, images " in caught.value.message
    assert "SIGKILL" in caught.value.message
    assert (tmp_path / "dealt" / "regions-00000-of-00003.h5").exists()


def test_workers_that_never_begin_end_it(deal, models):
    class Stillborn(LocalCrew):
        def start(self):
            number = super().start()
            os.kill(self._workers[number].process.pid, signal.SIGKILL)
            return number

    with pytest.raises(MissingDependencyError, match="before they had begun"):
        deal(Stillborn(models, processes=1, batch_size=1), "dealt")


def test_an_error_in_a_worker_is_raised_here(extract, models, photos, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "regions-00001-of-00002.h5").write_text("no store")
    with pytest.raises(UsageError, match="--overwrite"):
        extract(models, "store", shards=2, processes=2)


def test_more_processes_than_shards_are_refused(extract, models):
    with pytest.raises(UsageError, match="--processes 2 is too many for --shards 1"):
        extract(models, "store", processes=2)


def _environment(process):
    """Variables of a process that has just been started; before that it shows its parent's."""
    for _ in range(6000):
        if b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes():
            break
        time.sleep(0.01)
    lines = Path(f"/proc/{process}/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_gpus_are_given_out_in_turn_and_no_process_outlives_its_crew(models, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-1f")
    processes, seen = [], []

    def interrupted():
        with LocalCrew(models, processes=3, batch_size=1) as crew:
            for _ in range(3):
                processes.append(crew._workers[crew.start()].process)
                seen.append(_environment(processes[-1].pid)["CUDA_VISIBLE_DEVICES"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == ["3", "GPU-1f", "3"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,GPU-1f"
    assert len(processes) == 3
    assert not any(process.is_alive() for process in processes)
