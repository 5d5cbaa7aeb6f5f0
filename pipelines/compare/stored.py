"""Reading the files of a cell: what is damaged is told apart from what cannot be read just now.

A damaged file is made again, and what it was is lost; one that the system does not let us read
may be whole, and nothing is made in its place.

Letters: N images, C captions.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.ranking import Ranks
from weaksup.errors import DataError

# The arrays of a fold: (N,), (C,) and (C,), int64.
PARTS = ("image_to_text", "text_to_image", "caption_image")

Arrays = Mapping[str, npt.NDArray[Any]]

# What unpacking damaged bytes can raise: the file has been read before, so that an OSError is one
# of a decompressor. A RuntimeError is of what would be encrypted, or packed in an unknown way.
_BROKEN = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


class DamagedError(DataError):
    """A file of a cell that is not what was written.

    Args:
        path: of the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"{path} is damaged: {reason}", "run the same command again")
        self.path = path


def read_json(path: Path) -> dict[str, Any] | None:
    """An object, or None where there is no file.

    Raises:
        DamagedError: if it holds no object.
        DataError: if it cannot be read.
    """
    packed = _read(path)
    if packed is None:
        return None
    try:
        content = json.loads(packed.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, error) from error
    if not isinstance(content, dict):
        raise DamagedError(path, "it holds no object")
    return content


def read_ranks(path: Path, protocol: str) -> tuple[Ranks, ...]:
    """The folds of one protocol.

    Raises:
        DamagedError: if the file is missing, damaged, or has no such protocol.
        DataError: if it cannot be read.
    """
    return _folds(path, _arrays(path, f"{protocol}-"), protocol)


def check_ranks(path: Path, protocols: Collection[str], *, images: int, captions: int) -> None:
    """Read everything once, which verifies its checksums, and see that no fold is missing.

    Args:
        path: of the file.
        protocols: that it has ranks of.
        images: N, over all folds of a protocol.
        captions: C, over all folds of a protocol.

    Raises:
        DamagedError: as for ``read_ranks``, or if it has ranks of others than so many.
        DataError: if it cannot be read.
    """
    arrays = _arrays(path)
    for protocol in protocols:
        folds = _folds(path, arrays, protocol)
        # No checksum is over the list of arrays: where it is cut, whole folds are gone.
        found = (
            sum(len(fold.image_to_text) for fold in folds),
            sum(len(fold.text_to_image) for fold in folds),
        )
        if found != (images, captions):
            raise DamagedError(path, f"it has not all ranks of the protocol {protocol}")


def _folds(path: Path, arrays: Arrays, protocol: str) -> tuple[Ranks, ...]:
    folds: list[Ranks] = []
    while f"{protocol}-{len(folds)}-{PARTS[0]}" in arrays:
        names = [f"{protocol}-{len(folds)}-{part}" for part in PARTS]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise DamagedError(path, f"it has no {missing[0]}")
        folds.append(Ranks(*(arrays[name] for name in names)))
    if not folds:
        raise DamagedError(path, f"it has no ranks of the protocol {protocol}")
    return tuple(folds)


def _arrays(path: Path, prefix: str = "") -> Arrays:
    """The arrays whose names begin with a prefix, by name."""
    packed = _read(path)
    if packed is None:
        raise DamagedError(path, "it is missing")
    if not packed.startswith(b"PK"):  # numpy takes other files for a pickle, or for one array
        raise DamagedError(path, "it is no npz file")
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name.startswith(prefix)}
    except _BROKEN as error:
        raise DamagedError(path, error) from error


def _read(path: Path) -> bytes | None:
    """The bytes of a file, or None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}",
            "mend its permissions or its disk; nothing of its folder was changed",
        ) from error
