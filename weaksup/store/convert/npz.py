"""Read a folder of ``.npz`` files, one an image, as bottom-up-attention.pytorch writes them.

Letters: R regions of an image, D feature width.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weaksup.errors import DataError
from weaksup.store.convert.source import AGAIN, Features, FeatureSource, fractions
from weaksup.wording import counted

_FEATURES = ("x", "features", "feature")
_BOXES = ("bbox", "boxes")
_COUNTS = ("num_bbox", "num_boxes")
_HEIGHTS = ("image_h", "img_h", "height")
_WIDTHS = ("image_w", "img_w", "width")
_BROKEN = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclass
class NpzSource(FeatureSource):
    """A folder of npz files.

    An image's name is the file's path inside the folder, without ``.npz``. Only the arrays that
    are needed are opened: a pickled ``info`` beside them is never read.
    """

    format = "npz"

    @classmethod
    def open(cls, path: Path) -> NpzSource:
        """Find the files; reads the first one alone.

        Raises:
            DataError: if the first file is damaged or lacks something.
        """
        files = find_npz(path)
        folder = path if path.is_dir() else path.parent
        names = [file.relative_to(folder).as_posix().removesuffix(".npz") for file in files]
        source = cls(path, names=names, files=files)
        source.feature_size = source._read(files[0]).features.shape[1]
        return source

    def read(self) -> Iterator[Features]:
        for file in self.files:
            image = self._read(file)
            if image.features.shape[1] != self.feature_size:
                raise DataError(
                    f"{file}: its features have width {image.features.shape[1]}, those of "
                    f"{self.files[0].name} {self.feature_size}",
                    "put only the files of one extraction into a folder",
                )
            yield image

    def _read(self, path: Path) -> Features:
        if not zipfile.is_zipfile(path):
            raise DataError(f"{path} is damaged: it is no npz file", AGAIN)
        try:
            with np.load(path, allow_pickle=False) as content:
                return _image(content, path, width=self.feature_size)
        except _BROKEN as error:
            raise DataError(f"{path} is damaged: {error}", AGAIN) from error


def find_npz(path: Path) -> list[Path]:
    """The npz files at ``path``, subfolders included, sorted by name."""
    if path.is_file():
        return [path] if zipfile.is_zipfile(path) else []
    found = [
        Path(place, name)
        for place, _, names in os.walk(path)
        for name in names
        if name.endswith(".npz") and not name.startswith(".")
    ]
    return sorted(found)


def _image(content: Any, path: Path, *, width: int) -> Features:
    """The regions in an open npz file; ``width`` is D if it is known, else 0."""
    features = _array(content, _FEATURES, path)
    boxes = _array(content, _BOXES, path)
    count = _number(content, _COUNTS, path)
    if features.ndim != 2 or boxes.ndim != 2 or 4 not in boxes.shape:
        raise DataError(
            f"{path}: its features are {features.shape} and its boxes {boxes.shape}, expected "
            "two axes each, one of the boxes' of 4",
            AGAIN,
        )
    if boxes.shape[1] != 4:
        boxes = boxes.T
    features = _region_rows(features, boxes=len(boxes), width=width, path=path)
    regions = len(boxes) if count is None else count
    if regions > len(boxes):
        raise DataError(
            f"{path}: it has {counted(len(boxes), 'box', 'boxes')}, and "
            f"{counted(regions, 'region')}",
            AGAIN,
        )
    if regions < 1:
        raise DataError(f"{path}: it has no region", "delete it, or extract its image again")
    height, image_width = (_number(content, keys, path) or 0 for keys in (_HEIGHTS, _WIDTHS))
    size = (height, image_width)
    return Features(
        features=features[:regions].astype(np.float32),
        boxes=fractions(boxes[:regions], size, where=str(path)),
        size=size,
    )


def _region_rows(
    features: npt.NDArray[Any], *, boxes: int, width: int, path: Path
) -> npt.NDArray[Any]:
    """(R, D) from (R, D) or (D, R): by the number of boxes, and if both fit, by the width."""
    rows, columns = features.shape
    if rows == boxes and (columns != boxes or width in (0, columns)):
        return features
    if columns == boxes:
        return features.T
    raise DataError(f"{path}: its features are {features.shape}, and it has {boxes} boxes", AGAIN)


def _key(content: Any, keys: Sequence[str]) -> str | None:
    return next((key for key in keys if key in content.files), None)


def _array(content: Any, keys: Sequence[str], path: Path) -> npt.NDArray[Any]:
    key = _key(content, keys)
    if key is None:
        raise DataError(
            f"{path} has no {' or '.join(keys)}; it has {', '.join(content.files) or 'nothing'}",
            "expected x, bbox, num_bbox, image_h and image_w, as bottom-up-attention.pytorch "
            "writes them",
        )
    array: npt.NDArray[Any] = content[key]
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: {key} is {array.dtype}, expected numbers", AGAIN)
    return array


def _number(content: Any, keys: Sequence[str], path: Path) -> int | None:
    key = _key(content, keys)
    if key is None:
        return None
    value = content[key]
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise DataError(f"{path}: {key} is {value.dtype} {value.shape}, expected a number", AGAIN)
    return int(value.reshape(-1)[0])
