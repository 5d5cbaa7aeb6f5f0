"""Read a precomp folder: ``train_ims.npy``, ``train_caps.txt`` and so on.

Letters: N rows, R regions of a row, D feature width, C captions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weaksup.errors import DataError
from weaksup.store.convert.precomp_writer import DESCRIPTION, FORMAT, VERSION
from weaksup.store.convert.source import AGAIN, Features, FeatureSource
from weaksup.types import TEST, TRAIN, VAL, CaptionedImage
from weaksup.wording import counted

SUFFIX, CAPTIONS = "_ims.npy", "_caps.txt"
# In the order of reading. COCO's folders hold test images twice: `test` is a part of `testall`.
_SPLITS = {
    "train": TRAIN,
    "restval": TRAIN,
    "dev": VAL,
    "val": VAL,
    "testall": TEST,
    "test": TEST,
}
_EXPLAINED = "files are SPLIT_ims.npy and SPLIT_caps.txt, with SPLIT one of " + ", ".join(_SPLITS)


@dataclass(frozen=True)
class _Split:
    """One split's rows: for each image its first row, and its number of regions if it is known."""

    array: Path
    rows: list[int]
    lengths: npt.NDArray[Any] | None


@dataclass
class PrecompSource(FeatureSource):
    """A precomp folder.

    Rows of zeros at the end of an image's regions are padding, and left out.
    """

    format = "precomp"
    _splits: list[_Split] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path) -> PrecompSource:
        """Look at all files of a folder without reading the features.

        Raises:
            DataError: if a file is missing or damaged, or numbers do not fit.
        """
        source = cls(folder)
        source._read_description()
        names = {path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}")}
        unknown = sorted(names - set(_SPLITS))
        if unknown:
            raise DataError(f"{folder / (unknown[0] + SUFFIX)} is of an unknown split", _EXPLAINED)
        if {"test", "testall"} <= names:
            names.remove("test")
            source.notes.append("testall was read and test was not: it is a part of testall")
        for name in _SPLITS:
            source._refuse_captions_alone(name, names)
            if name in names:
                source._add(name)
        owners: dict[str, str] = {}
        for image in source.captioned:
            if image.id in owners:
                raise DataError(
                    f"{folder}: the image {image.id} is both in {owners[image.id]} and in "
                    f"{image.split}",
                    "mend SPLIT_ids.txt",
                )
            owners[image.id] = image.split or ""
        return source

    def read(self) -> Iterator[Features]:
        for split in self._splits:
            array = _open_array(split.array)
            for row in split.rows:
                features = np.array(array[row], dtype=np.float32)
                features = features.reshape(-1, features.shape[-1])
                if split.lengths is not None:
                    count = int(split.lengths[row])
                else:
                    filled = np.flatnonzero(features.any(axis=1))
                    count = int(filled[-1]) + 1 if len(filled) else 1
                yield Features(features[:count], None, (0, 0))

    def _read_description(self) -> None:
        """What our own export says: an image's first region is the whole image."""
        path = self.path / DESCRIPTION
        if not path.exists():
            return
        self.files.append(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}", AGAIN) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f"{path} is no description of a precomp folder", "delete it")
        if content.get("version") != VERSION:
            raise DataError(
                f"{path} has version {content.get('version')!r}; this weaksup reads version "
                f"{VERSION}",
                "update weaksup",
            )
        self.whole_image_first = bool(content.get("first_region_is_whole_image"))
        kept = ("detector", "weights_sha256", "store_fingerprint", "standardized")
        self.origin = {key: content[key] for key in kept if key in content}
        if self.origin.get("standardized"):
            self.notes.append("the features are standardised, and stay so")

    def _refuse_captions_alone(self, split: str, names: set[str]) -> None:
        """A split whose features are missing, by a broken download say, is not passed over.

        Raises:
            DataError: names the missing file.
        """
        captions = self.path / f"{split}{CAPTIONS}"
        part = split == "test" and "testall" in names
        if split not in names and not part and captions.exists():
            raise DataError(
                f"{self.path / (split + SUFFIX)} is missing, and {captions.name} is there",
                "fetch or make it; to import the other splits alone, put what begins with "
                f"{split}_ elsewhere",
            )

    def _add(self, split: str) -> None:
        path = self.path / f"{split}{SUFFIX}"
        array = _open_array(path)
        if array.ndim not in (2, 3) or array.dtype.kind not in "fiu" or 0 in array.shape:
            raise DataError(
                f"{path} is {array.dtype} {array.shape}, expected numbers (rows, regions, width)",
                AGAIN,
            )
        if self.feature_size not in (0, array.shape[-1]):
            raise DataError(
                f"{path} has features of width {array.shape[-1]}, another split of "
                f"{self.feature_size}",
                "put only splits of one extraction into a folder",
            )
        self.feature_size = array.shape[-1]
        if array.ndim == 2:  # one vector an image: that is the whole image
            self.whole_image_first = True
        captions = self._lines(f"{split}{CAPTIONS}", required=True)
        if len(captions) % len(array) or not captions:
            raise DataError(
                f"{self.path / (split + CAPTIONS)} has {counted(len(captions), 'caption')}, which "
                f"is no multiple of {counted(len(array), 'row')} of {path.name}",
                AGAIN,
            )
        each = len(captions) // len(array)
        ids = self._ids(split, rows=len(array), captions=len(captions))
        first: dict[str, int] = {}
        said: dict[str, list[str]] = {}
        for row, name in enumerate(ids):
            first.setdefault(name, row)
            said.setdefault(name, []).extend(captions[row * each : (row + 1) * each])
        self._splits.append(_Split(path, list(first.values()), self._lengths(split, array)))
        self.files.append(path)
        self.names += first
        self.captioned += [
            CaptionedImage(name, tuple(filter(None, sentences)), _SPLITS[split])
            for name, sentences in said.items()
        ]

    def _ids(self, split: str, *, rows: int, captions: int) -> list[str]:
        """The image of each row."""
        name = f"{split}_ids.txt"
        ids = self._lines(name, required=False)
        if not ids:
            self.notes.append(f"there is no {name}: images are named after their rows")
            return [f"{split}-{row:06d}" for row in range(rows)]
        if len(ids) == captions:  # SCAN's: an id a caption
            ids = ids[:: captions // rows]
        if len(ids) != rows or not all(ids):
            raise DataError(
                f"{self.path / name} has {counted(len(ids), 'id')} for {counted(rows, 'row')} of "
                f"{split}{SUFFIX}",
                "mend it, or delete it: images are then named after their rows",
            )
        return ids

    def _lengths(self, split: str, array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        path = self.path / f"{split}_lens.npy"
        if not path.exists():
            return None
        lengths = _open_array(path)
        most = array.shape[1] if array.ndim == 3 else 1
        good = lengths.shape == (len(array),) and lengths.dtype.kind in "iu"
        if not good or lengths.min() < 1 or lengths.max() > most:
            raise DataError(
                f"{path} does not hold {len(array):,} numbers of regions, 1 to {most}", AGAIN
            )
        self.files.append(path)
        return lengths

    def _lines(self, name: str, *, required: bool) -> list[str]:
        path = self.path / name
        if not path.exists():
            if required:
                raise DataError(f"{path} does not exist", _EXPLAINED)
            return []
        self.files.append(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read: {error}", "it must be UTF-8") from error
        return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def _open_array(path: Path) -> npt.NDArray[Any]:
    """Map an array; never unpickles."""
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged, or no array: {error}", AGAIN) from error
    return array
