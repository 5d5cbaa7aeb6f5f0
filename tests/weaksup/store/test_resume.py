"""An interrupted store goes on and ends with the same bytes, whatever ended the run."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from weaksup.errors import UsageError
from weaksup.store import RegionWriter, open_store, shard_path, shard_ranges
from weaksup.store.assemble import _Sink
from weaksup.store.schema import journal_folder

Datasets = Callable[[Path], dict[str, bytes]]
RAW = ["box.raw", "feature.raw", "score.raw", "object.raw", "attribute.raw"]


def contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def append_rest(writer: RegionWriter, example: Any) -> None:
    size = writer.group_size
    while writer.done < len(example.ids):
        writer.append_group(example.items[writer.done : writer.done + size])


@pytest.fixture
def states(example: Any, tmp_path: Path) -> list[dict[str, bytes]]:
    """The journal's files after 0, 1, 2 and all 3 groups."""
    path = tmp_path / "reference" / "regions.h5"
    found = []
    for _ in range(4):
        with RegionWriter.open(path, **example.arguments) as writer:
            found.append(contents(journal_folder(path)))
            start = writer.done
            if start < len(example.ids):
                writer.append_group(example.items[start : start + 4])
    return found


def restore(path: Path, state: dict[str, bytes]) -> None:
    folder = journal_folder(path)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in state.items():
        (folder / name).write_bytes(content)


def check_resumes(path: Path, example: Any, *, done: int, end: dict[str, bytes]) -> None:
    with RegionWriter.open(path, **example.arguments) as writer:
        assert writer.done == done
        expected = [(example.ids[3], "reason 3")] if done >= 4 else []
        assert writer.problems == expected
        append_rest(writer, example)
    assert contents(journal_folder(path)) == end


@pytest.mark.parametrize("groups", [0, 1, 2, 3])
def test_a_store_goes_on_from_any_group(
    example: Any,
    states: list[dict[str, bytes]],
    store_file: Path,
    tmp_path: Path,
    datasets: Datasets,
    groups: int,
) -> None:
    path = tmp_path / "new" / "regions.h5"
    restore(path, states[groups])
    check_resumes(path, example, done=min(10, 4 * groups), end=states[-1])
    example.write(path)
    assert datasets(path) == datasets(store_file)


def test_a_commit_torn_at_any_byte(
    example: Any, states: list[dict[str, bytes]], tmp_path: Path
) -> None:
    """Killed while the last group was being written: the arrays come first, the line last."""
    path = tmp_path / "regions.h5"
    before, after = states[2], states[3]
    written: dict[str, bytes] = dict(before)
    for name in [*RAW, "journal.jsonl"]:
        for length in range(len(before[name]), len(after[name])):
            restore(path, {**written, name: after[name][:length]})
            check_resumes(path, example, done=8, end=after)
        written[name] = after[name]


@pytest.mark.parametrize("name", [*RAW, "journal.jsonl"])
def test_an_array_that_lost_its_end(
    example: Any, states: list[dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    """After a power failure, a file can end before what the journal says."""
    path = tmp_path / "regions.h5"
    end = states[-1]
    lengths = [len(state[name]) for state in states]
    for length in range(0, lengths[-1], 5):
        groups = max(group for group in range(4) if lengths[group] <= length)
        restore(path, {**end, name: end[name][:length]})
        check_resumes(path, example, done=4 * groups, end=end)


@pytest.mark.parametrize("name", [*RAW, "journal.jsonl"])
def test_bytes_that_changed(
    example: Any, states: list[dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    """Zeros where data should be: the group that holds them and all behind it are done again."""
    path = tmp_path / "regions.h5"
    end = states[-1]
    lengths = [len(state[name]) for state in states]
    for place in range(0, lengths[-1], 7):
        groups = max(group for group in range(4) if lengths[group] <= place)
        damaged = bytearray(end[name])
        damaged[place] ^= 0x55
        restore(path, {**end, name: bytes(damaged)})
        check_resumes(path, example, done=4 * groups, end=end)


@pytest.mark.parametrize("header", [None, b"", b"{", b"[]"])
def test_a_journal_without_a_header_counts_for_nothing(
    example: Any, states: list[dict[str, bytes]], tmp_path: Path, header: bytes | None
) -> None:
    path = tmp_path / "regions.h5"
    state = {name: content for name, content in states[2].items() if name != "header.json"}
    restore(path, state if header is None else {**state, "header.json": header})
    check_resumes(path, example, done=0, end=states[-1])


def test_a_journal_begun_otherwise_is_kept(
    example: Any, states: list[dict[str, bytes]], tmp_path: Path
) -> None:
    path = tmp_path / "regions.h5"
    restore(path, states[2])
    with pytest.raises(UsageError) as caught:
        RegionWriter.open(path, **{**example.arguments, "group_size": 5, "objects": ["person"]})
    assert "batch size 4 is now 5" in caught.value.message
    assert "object names: 4 gone" in caught.value.message
    assert "--overwrite" in caught.value.hint
    many = replace(example.arguments["provenance"], settings=dict.fromkeys("abcde", 1))
    with pytest.raises(UsageError, match=r"; setting c none is now 1; and [2-9] more"):
        RegionWriter.open(path, **{**example.arguments, "provenance": many})
    header = json.loads(states[2]["header.json"])
    restore(path, {**states[2], "header.json": json.dumps({**header, "version": 2}).encode()})
    with pytest.raises(UsageError, match=r"format .*, 2\) is now .*, 1\)"):
        RegionWriter.open(path, **example.arguments)
    restore(path, states[2])
    check_resumes(path, example, done=8, end=states[-1])


# Writes the store of test_a_killed_writer: 24 images, each from its own seed.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from weaksup.store import RegionWriter, StoreItem
from weaksup.types import Provenance, Regions

def item(number):
    if number % 5 == 2:
        return StoreItem((0, 0), 1, None, f"reason {number}")
    generator = np.random.default_rng(number)
    count = 1 + number % 4
    return StoreItem((4, number), 0, Regions(
        generator.random((count, 4), dtype=np.float32),
        generator.random((count, 50_000), dtype=np.float32),
        generator.random(count, dtype=np.float32),
        generator.integers(-1, 2, count, dtype=np.int32),
        generator.integers(-1, 1, (count, 1), dtype=np.int32)))

with RegionWriter.open(
    Path(sys.argv[1]), ids=[f"{n}.jpg" for n in range(24)], feature_size=50_000,
    attribute_slots=1, objects=["dog", "cat"], attributes=["red"],
    provenance=Provenance("test", "", {}), group_size=2,
) as writer:
    print("open", writer.done, flush=True)
    while writer.done < 24:
        writer.append_group([item(n) for n in range(writer.done, writer.done + 2)])
        print("done", writer.done, flush=True)
    writer.finish()
print("finished", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_writer(tmp_path: Path, datasets: Datasets) -> None:
    """kill -9 after a few commits or while the file is made, until a run gets through."""
    reference, path = tmp_path / "whole.h5", tmp_path / "killed.h5"
    subprocess.run([sys.executable, "-c", WRITER, str(reference)], check=True, capture_output=True)
    generator = random.Random(4)
    committed = 0
    for attempt in range(12):
        # The last attempts have nothing left to commit: they are killed in finish().
        lines = generator.randrange(1, 5) if committed < 24 else 1
        delay = generator.random() * (0.004 if committed < 24 else 0.03)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(lines):
                line = process.stdout.readline().split()
                if line[0] == "finished":  # an earlier one had committed more than was read
                    committed = 24
                    break
                assert int(line[1]) >= committed, f"attempt {attempt} lost a commit"
                committed = int(line[1])
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        if path.exists():  # by its name alone it must be whole
            assert datasets(path) == datasets(reference)
    assert committed == 24
    subprocess.run([sys.executable, "-c", WRITER, str(path)], check=True, capture_output=True)
    assert datasets(path) == datasets(reference)
    assert open_store(path).problems == [(f"{n}.jpg", f"reason {n}") for n in (2, 7, 12, 17, 22)]
    assert not journal_folder(path).exists()


def test_a_signal_while_the_file_is_made(
    example: Any, tmp_path: Path, datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in any call that HDF5 makes back into Python: it is a KeyboardInterrupt, no defect."""
    path, left = tmp_path / "regions.h5", 0

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                # Before the method itself, as the interpreter runs handlers.
                signal.raise_signal(signal.SIGINT)
            return method(*arguments)

        return call

    for name in ("write", "truncate", "readinto", "seek", "tell"):
        monkeypatch.setattr(_Sink, name, counted(getattr(_Sink, name)))
    with RegionWriter.open(path, **example.arguments) as writer:
        append_rest(writer, example)
    handler, calls = signal.getsignal(signal.SIGINT), 0
    while not path.exists():
        calls += 1
        left = calls
        with RegionWriter.open(path, **example.arguments) as writer:
            assert writer.done == len(example.ids)
            try:
                writer.finish()
            except KeyboardInterrupt:
                assert not path.exists()
        assert signal.getsignal(signal.SIGINT) is handler
    assert calls > 20
    monkeypatch.undo()
    reference = example.write(tmp_path / "reference.h5")
    assert datasets(path) == datasets(reference)


def test_a_shard_holds_the_bytes_of_its_part(
    make_example: Callable[..., Any], tmp_path: Path, datasets: Datasets
) -> None:
    """An interrupted shard ends with the rows that the single file has."""
    example = make_example(images=18)
    whole = datasets(example.write(tmp_path / "regions.h5"))
    joined: dict[str, bytes] = {}
    for number, positions in enumerate(shard_ranges(18, 2, 4)):
        path = shard_path(tmp_path / "shards", number, 2)
        part = example.part(positions)
        with RegionWriter.open(path, **part.arguments) as writer:
            writer.append_group(part.items[:4])
        part.write(path)
        for name, content in datasets(path).items():
            joined[name] = joined.get(name, b"") + content.split(b") ", 1)[1]
    for name in (name for name in whole if name.startswith("region/")):
        assert joined[name] == whole[name].split(b") ", 1)[1], name


HOLDER = """
import json, os, sys, time
from pathlib import Path
from weaksup.store import RegionWriter
from weaksup.types import Provenance
arguments = json.loads(sys.argv[2])
arguments["provenance"] = Provenance(**arguments["provenance"])
with RegionWriter.open(Path(sys.argv[1]), **arguments):
    if os.fork() == 0:  # a worker that outlives its killed parent
        sys.stdin.read()
        os._exit(0)
    print("open", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(example: Any, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the writer of ``example`` open."""
    arguments = {**example.arguments, "provenance": vars(example.arguments["provenance"])}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "regions.h5"), json.dumps(arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_two_processes_do_not_write_one_store(
    example: Any, tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(UsageError, match="another process is writing"):
        example.write(tmp_path / "regions.h5")
    with pytest.raises(UsageError, match="another process is writing"):
        example.write(tmp_path / "regions.h5", overwrite=True)
    holder.kill()
    holder.wait()
    assert len(open_store(example.write(tmp_path / "regions.h5"))) == 10


# A disk that is full: no file may grow beyond a limit, first in a commit and then in finish().
FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from weaksup.errors import DataError
from weaksup.store import RegionWriter, StoreItem, open_store
from weaksup.types import Provenance, Regions

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def fails(call):
    try:
        call()
    except DataError as error:
        return "cannot be written" in error.message and "goes on" in error.hint
    return False

path = Path(sys.argv[1])
def item(number):
    return StoreItem((1, 1), 0, Regions(
        np.full((3, 4), number / 4, np.float32), np.full((3, 1000), number, np.float32),
        np.ones(3, np.float32), np.zeros(3, np.int32), np.zeros((3, 0), np.int32)))

arguments = dict(ids=["a", "b", "c"], feature_size=1000, attribute_slots=0, objects=["dog"],
                 attributes=[], provenance=Provenance("", "", {}), group_size=1)
with RegionWriter.open(path, **arguments) as writer:
    writer.append_group([item(1)])
    limit(7000)
    assert fails(lambda: writer.append_group([item(2)]))
    assert writer.done == 1
    limit(resource.RLIM_INFINITY)
    writer.append_group([item(2)])
    writer.append_group([item(3)])
    limit(19000)
    assert fails(writer.finish)
    limit(resource.RLIM_INFINITY)
assert not path.exists()
with RegionWriter.open(path, **arguments) as writer:
    assert writer.done == 3
    writer.finish()
batch = open_store(path).gather([0, 1, 2])
assert (batch.features == np.array([1, 2, 3])[:, None, None]).all()
assert (batch.boxes == np.array([1, 2, 3])[:, None, None] / 4).all()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
def test_a_full_disk_is_a_readable_error_and_costs_nothing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "regions.h5")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
