"""The journal of an unfinished store: work that is committed stays, whatever ends the process.

A folder holds ``header.json`` (what the store will be), one raw file for each array of regions,
and ``journal.jsonl`` with a line for each committed group of images. A commit appends the arrays
first and the line last. On opening, the longest run of groups is kept whose lines are whole and
whose arrays have the checksum that the line names; everything behind it is cut off. No ``fsync``
is needed for that: after a kill nothing is lost, and after a power failure the checksums tell how
much reached the disk.

A line is ``CRC32-OF-THE-REST {"count": [...], "crc32": ..., ...}``.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weaksup.errors import UsageError
from weaksup.files import write_atomically
from weaksup.store.schema import RegionArray, StorePlan
from weaksup.wording import first_few

if sys.platform != "win32":
    import fcntl

JOURNAL_FORMAT = "weaksup.regions.journal"
JOURNAL_VERSION = 1
CHUNK_BYTES = 16 << 20
_LOCK = "lock"


class StoreBusyError(UsageError):
    """Another process writes the store."""


@dataclass(frozen=True)
class Group:
    """One committed group of G consecutive images.

    Attributes:
        size: G pairs of height and width in pixels.
        status: G status codes.
        count: G numbers of regions.
        problems: (position within the group, reason) of the images that could not be read.
        crc32: over the group's rows of all arrays, in the order of the arrays.
    """

    size: tuple[tuple[int, int], ...]
    status: tuple[int, ...]
    count: tuple[int, ...]
    problems: tuple[tuple[int, str], ...]
    crc32: int

    @property
    def rows(self) -> int:
        return sum(self.count)

    def to_line(self) -> bytes:
        text = json.dumps(asdict(self), separators=(",", ":")).encode()
        return b"%08x %s\n" % (zlib.crc32(text), text)

    @classmethod
    def from_line(cls, line: bytes) -> Group | None:
        """The inverse of :meth:`to_line`; None for a line that is torn or damaged."""
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
            return None
        content = json.loads(text)
        return cls(
            size=tuple((height, width) for height, width in content["size"]),
            status=tuple(content["status"]),
            count=tuple(content["count"]),
            problems=tuple((position, reason) for position, reason in content["problems"]),
            crc32=content["crc32"],
        )


class Journal:
    """Appends groups to the folder; see the module's description.

    Attributes:
        groups: what is committed, in order.
        arrays: the datasets under ``/region``.
    """

    def __init__(self, folder: Path, *, arrays: tuple[RegionArray, ...], lock: io.FileIO) -> None:
        self.folder = folder
        self.arrays = arrays
        self.groups: list[Group] = []
        self._rows = 0
        self._line_bytes = 0
        self._lock = lock
        self._raw = [_open_raw(self.raw_path(array)) for array in arrays]
        self._lines = _open_raw(folder / "journal.jsonl")

    @classmethod
    def open(
        cls, folder: Path, *, plan: StorePlan, group_size: int, overwrite: bool = False
    ) -> Journal:
        """Go on with the journal in ``folder``, or begin one.

        Args:
            folder: made if missing.
            plan: of the store to be written.
            group_size: images a group.
            overwrite: discard a journal that is there, unless it was itself begun with
                ``overwrite`` and is of the same plan: an interrupted ``--overwrite`` goes on when
                the same command is given again.

        Raises:
            UsageError: if another process writes it, or it is of another plan.
            OSError, DataError: if the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
        try:
            header = {
                "format": JOURNAL_FORMAT,
                "version": JOURNAL_VERSION,
                "overwrite": overwrite,
                "group_size": group_size,
                "plan": plan.to_json(),
            }
            found = _read_header(folder)
            differences = _header_differences(found, header) if found is not None else []
            if differences and not overwrite:
                raise UsageError(
                    f"{folder} holds an unfinished store that was begun otherwise: "
                    + first_few(differences, separator="; "),
                    "give the same options as then to go on, or --overwrite to start afresh",
                )
            if found is None or differences or (overwrite and not found["overwrite"]):
                _clear(folder)
                _write_header(folder, header)
            journal = cls(folder, arrays=plan.arrays(), lock=lock)
        except BaseException:
            lock.close()
            raise
        try:
            journal._recover()
        except BaseException:
            journal.close()
            raise
        return journal

    def raw_path(self, array: RegionArray) -> Path:
        """The file of ``array``'s rows, one after another."""
        return self.folder / (array.dataset.rsplit("/", 1)[1] + ".raw")

    def commit(
        self,
        rows: Sequence[npt.NDArray[Any]],
        *,
        size: Sequence[tuple[int, int]],
        status: Sequence[int],
        count: Sequence[int],
        problems: Sequence[tuple[int, str]],
    ) -> None:
        """Append one group.

        Args:
            rows: for each of ``arrays``, the rows of the whole group, C-contiguous.
            size, status, count, problems: as in :class:`Group`.

        Raises:
            OSError: if the disk is full; what was committed before is not touched.
        """
        # Cutting first makes a commit repeatable after one that failed or was interrupted.
        self._truncate()
        checksum = 0
        for file, part in zip(self._raw, rows, strict=True):
            block = part.reshape(-1).view(np.uint8).data
            _write_all(file, block)
            checksum = zlib.crc32(block, checksum)
        group = Group(
            size=tuple(size),
            status=tuple(status),
            count=tuple(count),
            problems=tuple(problems),
            crc32=checksum,
        )
        line = group.to_line()
        _write_all(self._lines, memoryview(line))
        self._accept(group, len(line))

    def close(self) -> None:
        """Close the files; the journal stays on disk."""
        for file in (*self._raw, self._lines, self._lock):
            file.close()

    def remove(self) -> None:
        """Close the files and delete the folder."""
        self.close()
        shutil.rmtree(self.folder)

    def _accept(self, group: Group, line_bytes: int) -> None:
        self.groups.append(group)
        self._rows += group.rows
        self._line_bytes += line_bytes

    def _recover(self) -> None:
        readers = [self.raw_path(array).open("rb") for array in self.arrays]
        try:
            for line in self._lines.readall().splitlines(keepends=True):
                group = Group.from_line(line)
                if group is None or self._checksum(readers, group.rows) != group.crc32:
                    break
                self._accept(group, len(line))
        finally:
            for reader in readers:
                reader.close()
        self._truncate()

    def _checksum(self, readers: Sequence[io.BufferedReader], rows: int) -> int:
        checksum = 0
        for reader, array in zip(readers, self.arrays, strict=True):
            for block in _blocks(reader, rows * array.row_bytes):
                checksum = zlib.crc32(block, checksum)
        return checksum

    def _truncate(self) -> None:
        for file, array in zip(self._raw, self.arrays, strict=True):
            _cut(file, self._rows * array.row_bytes)
        _cut(self._lines, self._line_bytes)


def remove_journal(folder: Path) -> None:
    """Delete a journal that nobody needs any more, if there is one.

    Raises:
        UsageError: if another process writes it.
    """
    if folder.is_dir():
        with _lock(folder):
            shutil.rmtree(folder)


def _lock(folder: Path) -> io.FileIO:
    """Take the folder for this process; released by closing or by the process's end."""
    file = io.FileIO(folder / _LOCK, "w")
    if sys.platform != "win32":
        # Not flock: worker processes would inherit that, and one that outlives its killed parent
        # would keep everybody out.
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.close()
            raise StoreBusyError(
                f"another process is writing {folder}",
                "wait until it has ended, or write to another place with --out",
            ) from None
    return file


def _read_header(folder: Path) -> dict[str, Any] | None:
    """The header, or None where there is none that can be read: nothing to go on from."""
    try:
        header = json.loads((folder / "header.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return header if isinstance(header, dict) else None


def _write_header(folder: Path, header: Mapping[str, Any]) -> None:
    write_atomically(folder / "header.json", json.dumps(header))


def _header_differences(found: Mapping[str, Any], header: Mapping[str, Any]) -> list[str]:
    kinds = [(item.get("format"), item.get("version")) for item in (found, header)]
    if kinds[0] != kinds[1]:
        return [f"journal format {kinds[0]} is now {kinds[1]}"]
    old, new = (StorePlan.from_json(item["plan"]) for item in (found, header))
    differences = old.differences(new)
    if found["group_size"] != header["group_size"]:
        differences.append(f"batch size {found['group_size']} is now {header['group_size']}")
    return differences


def _clear(folder: Path) -> None:
    # The header goes first: without it, what is left of a journal counts for nothing.
    (folder / "header.json").unlink(missing_ok=True)
    for entry in folder.iterdir():
        if entry.name != _LOCK:
            entry.unlink()


def _open_raw(path: Path) -> io.FileIO:
    # Unbuffered, so that nothing half-written waits in memory when a commit fails.
    return io.FileIO(
        os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+"
    )


def _write_all(file: io.FileIO, block: memoryview) -> None:
    while block:
        block = block[file.write(block) :]


def _cut(file: io.FileIO, length: int) -> None:
    file.truncate(length)
    file.seek(length)


def _blocks(reader: io.BufferedReader, length: int) -> Iterator[bytes]:
    while length:
        block = reader.read(min(length, CHUNK_BYTES))
        if not block:
            return
        length -= len(block)
        yield block
