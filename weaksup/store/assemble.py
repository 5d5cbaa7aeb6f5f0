"""From a journal that has all images to the complete HDF5 file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from weaksup.signals import HeldSignals, held_signals
from weaksup.store import schema
from weaksup.store.journal import CHUNK_BYTES, Journal
from weaksup.store.schema import RegionArray, StorePlan

# Large datasets begin on a page, so that a mapped row crosses as few pages as it can.
_PAGE = 4096


def assemble(
    path: Path, *, plan: StorePlan, journal: Journal, problems: Sequence[tuple[str, str]]
) -> None:
    """Write ``path`` and bring it to disk; constant memory.

    Args:
        path: replaced if it exists.
        plan: of the store.
        journal: with the groups of all images of ``plan``.
        problems: (id, reason) of the images that could not be read.

    Signals are held back between some megabytes and the next.

    Raises:
        OSError: if the file cannot be written.
    """
    total = sum(group.rows for group in journal.groups)
    with (
        held_signals() as held,
        _Sink(path, held=held) as sink,
        h5py.File(sink, "w", alignment_threshold=_PAGE, alignment_interval=_PAGE) as file,
    ):
        file.attrs.update(
            format=schema.FORMAT,
            version=schema.VERSION,
            detector=plan.provenance.detector,
            weights_sha256=plan.provenance.weights_sha256,
            settings=schema.canonical_json(plan.provenance.settings),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            complete=False,
        )
        # Headers before data, so that a file that is cut short can still say what it lacks.
        for array in journal.arrays:
            file.create_dataset(array.dataset, (total, *array.row_shape), array.dtype)
        _write_images(file, journal)
        for name, texts in plan.texts().items():
            values = np.array(texts, dtype=object)
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        file.attrs["problems"] = json.dumps(problems)
        for array in journal.arrays:
            _stream(journal.raw_path(array), file[array.dataset], array, sink)
        file.flush()
        sink.check()
        sync(path)
        file.attrs["complete"] = True
    sink.check()
    sync(path)


def _write_images(file: h5py.File, journal: Journal) -> None:
    groups = journal.groups
    sizes = [size for group in groups for size in group.size]
    status = [status for group in groups for status in group.status]
    counts = [count for group in groups for count in group.count]
    for name, values, dtype in (
        (schema.IMAGE_SIZE, np.reshape(sizes, (-1, 2)), schema.SIZE_DTYPE),
        (schema.IMAGE_STATUS, status, schema.STATUS_DTYPE),
        (schema.IMAGE_OFFSET, np.cumsum([0, *counts]), schema.OFFSET_DTYPE),
    ):
        file.create_dataset(name, data=np.asarray(values, dtype=dtype))


def _stream(raw: Path, dataset: Any, array: RegionArray, sink: _Sink) -> None:
    """Copy a raw file into a dataset, some megabytes at a time."""
    if not dataset.size:
        return
    step = max(1, CHUNK_BYTES // array.row_bytes)
    with raw.open("rb") as file:
        for start in range(0, len(dataset), step):
            rows = min(step, len(dataset) - start)
            block = np.fromfile(file, array.dtype, rows * array.row_bytes // array.dtype.itemsize)
            dataset[start : start + rows] = block.reshape(rows, *array.row_shape)
            sink.check()


class _Sink(io.RawIOBase):
    """The file that HDF5 writes to, deaf after the first write that fails.

    HDF5 cannot close a file that it cannot write: it keeps it open and crashes when the process
    ends. Here a full disk, or whatever else ends a write, is noted, HDF5 closes in peace, and
    ``check`` raises.
    """

    def __init__(self, path: Path, *, held: HeldSignals) -> None:
        self._file = io.FileIO(path, "w+")
        self._error: BaseException | None = None
        self._held = held

    def check(self) -> None:
        """Raise the error of the first write that failed, if one did, or on a held signal."""
        if self._error is not None:
            raise self._error
        self._held.check()

    def write(self, block: Any) -> int:
        rest = memoryview(block).cast("B")
        length = len(rest)
        while rest and self._error is None:
            try:
                rest = rest[self._file.write(rest) :]
            except BaseException as error:
                self._error = error
        return length

    def truncate(self, size: int | None = None) -> int:
        if self._error is None:
            try:
                self._file.truncate(size)
            except BaseException as error:
                self._error = error
        return self._file.tell() if size is None else size

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


def sync(path: Path) -> None:
    """Bring a file, or a folder's entries, to disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders; a rename there is on disk when it returns
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
