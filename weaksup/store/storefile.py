"""Open one HDF5 file of a region store, believing nothing.

Letters: N images, M regions of the file, D feature width, A attribute slots, K class slots.
"""

from __future__ import annotations

import io
import json
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from weaksup.errors import DataError
from weaksup.store import schema
from weaksup.store.schema import StorePlan
from weaksup.types import STATUS_NO_REGION, Int32, Provenance, UInt8
from weaksup.wording import counted

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What h5py raises on damaged files: a wrong length is also a request for too much memory.
_H5PY_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    OSError,
    RuntimeError,
    OverflowError,
    MemoryError,
)
_NO_ROWS = np.empty(0, np.int32)
_AGAIN = "copy it again from where it came from, or write it again with --overwrite"


@dataclass(frozen=True)
class StoreFile:
    """One checked file; no handle is open.

    Attributes:
        path: absolute.
        plan: ids, names, widths and provenance.
        sizes: (N, 2) int32, height and width in pixels.
        status: (N,) uint8.
        offsets: (N+1,) int64; image i owns the rows ``offsets[i]:offsets[i+1]``.
        mapping: of the whole file, read-only.
        arrays: for each field of ``Regions``, the (M, ...) array as stored; mapped, read-only.
        reasons: image id to why it could not be read; may lack some.
        created: ISO 8601 time.
    """

    path: Path
    plan: StorePlan
    sizes: Int32
    status: UInt8
    offsets: npt.NDArray[np.int64]
    mapping: mmap.mmap
    arrays: Mapping[str, npt.NDArray[Any]]
    reasons: Mapping[str, str]
    created: str

    def __len__(self) -> int:
        return len(self.plan.ids)


def read_file(path: Path) -> StoreFile:
    """Open, check and map the store file ``path``.

    Raises:
        DataError: if it is missing, no region store, of another version, not complete or
            damaged; the message names the dataset or attribute.
    """
    path = path.absolute()
    _check_signature(path)
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise _cut_short(path, error) from error
    with file:
        provenance, created = _read_attributes(path, file)
        ids, objects, attributes = (
            _read_texts(path, file, name)
            for name in (schema.IMAGE_ID, schema.VOCABULARY_OBJECT, schema.VOCABULARY_ATTRIBUTE)
        )
        if len(set(ids)) != len(ids):
            raise _damaged(path, schema.IMAGE_ID, "an id is there twice")
        count = len(ids)
        sizes = _read_array(path, file, schema.IMAGE_SIZE, schema.SIZE_DTYPE, (count, 2))
        status = _read_array(path, file, schema.IMAGE_STATUS, schema.STATUS_DTYPE, (count,))
        offsets = _read_array(path, file, schema.IMAGE_OFFSET, schema.OFFSET_DTYPE, (count + 1,))
        if status.size and status.max() > STATUS_NO_REGION:
            raise _damaged(path, schema.IMAGE_STATUS, f"unknown status {status.max()}")
        if offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise _damaged(path, schema.IMAGE_OFFSET, "it does not rise from 0")
        class_slots, classes = _read_classes(path, file)
        plan = StorePlan(
            ids=ids,
            feature_size=_width(path, file, "/region/feature"),
            attribute_slots=_width(path, file, "/region/attribute"),
            objects=objects,
            attributes=attributes,
            provenance=provenance,
            class_slots=class_slots,
            classes=classes,
            object_words=_read_words(path, file, schema.VOCABULARY_OBJECT_WORDS, objects),
            class_words=_read_words(path, file, schema.VOCABULARY_CLASS_WORDS, classes),
        )
        with path.open("rb") as raw:
            mapping = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = _map_regions(path, file, plan, mapping, rows=int(offsets[-1]))
        reasons = _read_reasons(file)
    for field, dataset, names in (
        ("objects", "/region/object", objects),
        ("attributes", "/region/attribute", attributes),
        ("classes", schema.REGION_CLASS, classes),
    ):
        values = arrays.get(field, _NO_ROWS)
        if values.size and (values.min() < -1 or values.max() >= len(names)):
            raise _damaged(path, dataset, f"it points beyond {counted(len(names), 'name')}")
    return StoreFile(path, plan, sizes, status, offsets, mapping, arrays, reasons, created)


def _check_signature(path: Path) -> None:
    if not path.exists():
        if schema.journal_folder(path).is_dir():
            raise DataError(
                f"{path} is not finished: {schema.journal_folder(path)} holds what there is",
                "run the same `weaksup extract` again: it goes on from there",
            )
        raise DataError(f"there is no region store {path}", "run `weaksup extract` first")
    try:
        with path.open("rb") as file:
            start = file.read(len(_SIGNATURE))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if start != _SIGNATURE:
        what = "is empty" if not start else "is no HDF5 file"
        raise DataError(f"{path} {what}", "a region store is what `weaksup extract` writes")


def _read_attributes(path: Path, file: h5py.File) -> tuple[Provenance, str]:
    def read(name: str, kind: type) -> Any:
        with _naming(path, f"attribute {name}"):
            value = file.attrs[name]
            if not isinstance(value, kind):
                raise TypeError(f"it is a {type(value).__name__}")
        return value

    with _naming(path, "attribute format"):
        named = "format" in file.attrs
    if not named or read("format", str) != schema.FORMAT:
        raise DataError(
            f"{path} is an HDF5 file, but no region store (it lacks format={schema.FORMAT})",
            "a region store is what `weaksup extract` writes",
        )
    version = int(read("version", np.integer))
    if version != schema.VERSION:
        raise DataError(
            f"{path} is a region store of version {version}; this weaksup reads version "
            f"{schema.VERSION}",
            "install the weaksup that wrote it, or extract again",
        )
    if not read("complete", np.bool_):
        raise DataError(
            f"{path} is not complete: whatever wrote it was interrupted",
            "write it again with --overwrite",
        )
    with _naming(path, "attribute settings"):
        settings = json.loads(read("settings", str))
        if not isinstance(settings, dict):
            raise TypeError("it holds no JSON object")
    provenance = Provenance(read("detector", str), read("weights_sha256", str), settings)
    return provenance, str(read("created", str))


def _read_reasons(file: h5py.File) -> dict[str, str]:
    """The ``problems`` attribute: a courtesy, so that a file without it is as good."""
    try:
        return {str(name): str(reason) for name, reason in json.loads(file.attrs["problems"])}
    except _H5PY_ERRORS:
        return {}


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    with _naming(path, name):
        found = file.get(name)
        if not isinstance(found, h5py.Dataset):
            raise KeyError("it is missing")
        if found.chunks is None and found.size * found.dtype.itemsize > path.stat().st_size:
            raise ValueError(f"its shape {found.shape} is more than the file holds")
        return found


def _read_texts(path: Path, file: h5py.File, name: str) -> tuple[str, ...]:
    dataset = _dataset(path, file, name)
    with _naming(path, name):
        if dataset.ndim != 1 or h5py.check_string_dtype(dataset.dtype) is None:
            raise TypeError(f"it is {dataset.dtype} {dataset.shape}, expected a list of texts")
        return tuple(dataset.asstr()[()].tolist())


def _has(path: Path, file: h5py.File, name: str) -> bool:
    with _naming(path, name):
        return name in file


def _read_classes(path: Path, file: h5py.File) -> tuple[int, tuple[str, ...]]:
    """K and the names of the classes; 0 and none where the store has no classes."""
    names = (schema.REGION_CLASS, schema.VOCABULARY_CLASS)
    if not any(_has(path, file, name) for name in names):
        return 0, ()
    slots = _width(path, file, schema.REGION_CLASS)
    classes = _read_texts(path, file, schema.VOCABULARY_CLASS)
    if not slots or not classes:
        many = counted(len(classes), "class", "classes")
        raise _damaged(path, names[0], f"{counted(slots, 'slot')} for {many}")
    return slots, classes


def _read_words(
    path: Path, file: h5py.File, name: str, of: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    """The words of each of the names ``of``; empty where the store has none."""
    if not _has(path, file, name):
        return ()
    texts = _read_texts(path, file, name)
    with _naming(path, name):
        if len(texts) != len(of):
            entries = counted(len(texts), "entry", "entries")
            raise ValueError(f"it has {entries} for {counted(len(of), 'name')}")
        return schema.words_from_texts(texts)


def _read_array(
    path: Path, file: h5py.File, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    dataset = _dataset(path, file, name)
    _check_shape(path, dataset, name, dtype, shape)
    with _naming(path, name):
        values: npt.NDArray[Any] = dataset[()]
    return values


def _check_shape(
    path: Path, dataset: h5py.Dataset, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> None:
    with _naming(path, name):
        if dataset.dtype != dtype or dataset.shape != shape:
            raise TypeError(f"it is {dataset.dtype} {dataset.shape}, expected {dtype} {shape}")


def _width(path: Path, file: h5py.File, name: str) -> int:
    dataset = _dataset(path, file, name)
    with _naming(path, name):
        if dataset.ndim != 2:
            raise TypeError(f"it has {dataset.ndim} dimensions, expected 2")
        return int(dataset.shape[1])


def _map_regions(
    path: Path, file: h5py.File, plan: StorePlan, mapped: mmap.mmap, *, rows: int
) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    for array in plan.arrays():
        dataset = _dataset(path, file, array.dataset)
        shape = (rows, *array.row_shape)
        _check_shape(path, dataset, array.dataset, array.dtype, shape)
        if not dataset.size:
            arrays[array.field] = np.empty(shape, array.dtype)
            continue
        with _naming(path, array.dataset):
            offset = dataset.id.get_offset()
            if offset is None:
                raise TypeError("it is not contiguous, so that it cannot be mapped")
            if offset + dataset.size * array.dtype.itemsize > len(mapped):
                raise ValueError("it ends beyond the end of the file")
            values = np.frombuffer(mapped, array.dtype, dataset.size, offset)
        arrays[array.field] = values.reshape(shape)
    return arrays


class _Padded(io.RawIOBase):
    """A file that goes on with zeros without end: HDF5 refuses to open one that is cut short."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._position = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: 1 << 60}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._position)
        count = self._file.readinto(buffer)
        buffer[count:] = bytes(len(buffer) - count)
        self._position += len(buffer)
        return len(buffer)


def _cut_short(path: Path, error: OSError) -> DataError:
    """The error for a file that HDF5 does not open: which datasets are not all there?"""
    size = path.stat().st_size
    lacking = []
    try:
        with path.open("rb") as raw, h5py.File(_Padded(raw), "r") as file:
            arrays = schema.region_arrays(feature_size=0, attribute_slots=0, class_slots=1)
            for array in arrays:
                if array.dataset not in file:
                    continue
                dataset = file[array.dataset]
                offset = dataset.id.get_offset()
                if offset is not None and offset + dataset.id.get_storage_size() > size:
                    lacking.append(array.dataset)
    except _H5PY_ERRORS:
        return DataError(f"{path} is damaged: HDF5 cannot open it ({error})", _AGAIN)
    what = f"{', '.join(lacking)} not all there" if lacking else str(error)
    return DataError(f"{path} is cut short at {size} bytes: {what}", _AGAIN)


def _damaged(path: Path, name: str, what: object) -> DataError:
    return DataError(f"{path} is damaged: {name}: {what}", _AGAIN)


@contextmanager
def _naming(path: Path, name: str) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into an error that names the place."""
    try:
        yield
    except _H5PY_ERRORS as error:
        raise _damaged(path, name, error.args[0] if error.args else error) from error
