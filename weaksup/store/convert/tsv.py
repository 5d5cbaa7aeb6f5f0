"""Read the tab-separated files of bottom-up attention and of LXMERT.

A line is an image; boxes and features are base64 of float32. Letters: R regions of an image, D
feature width.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weaksup.errors import DataError
from weaksup.store.convert.source import AGAIN, Features, FeatureSource, fractions
from weaksup.types import Float32
from weaksup.wording import counted

# The places of the columns that are read; the number of columns tells the layouts apart.
BOTTOM_UP = {"id": 0, "width": 1, "height": 2, "count": 3, "boxes": 4, "features": 5}
LXMERT = {"id": 0, "height": 1, "width": 2, "count": 7, "boxes": 8, "features": 9}
LAYOUTS = {6: BOTTOM_UP, 10: LXMERT}
_TITLES = ("image_id", "img_id")
_HEAD_BYTES = 1 << 16
_SHORTENED = "the file may have been cut short: fetch it again"


@dataclass
class TsvSource(FeatureSource):
    """One or several tsv files.

    The files are read twice, line by line: first for the names, then for the features. Of images
    that occur again, as some do in the files that are published, the first counts.
    """

    format = "tsv"

    @classmethod
    def open(cls, path: Path) -> TsvSource:
        """Read the names, and the first image.

        Raises:
            DataError: if a line is damaged.
        """
        source = cls(path, files=find_tsv(path))
        known: dict[str, None] = {}
        repeated = 0
        for where, fields in source._lines():
            name = _text(fields["id"], where)
            if not known:
                source.feature_size = _image(fields, where).features.shape[1]
            repeated += name in known
            known[name] = None
        if not known:
            raise DataError(f"{path} names no image", AGAIN)
        if repeated:
            source.notes.append(
                f"{counted(repeated, 'line is', 'lines are')} of images that were there already"
            )
        source.names = list(known)
        return source

    def read(self) -> Iterator[Features]:
        seen: set[str] = set()
        for where, fields in self._lines():
            name = _text(fields["id"], where)
            if name in seen:
                continue
            seen.add(name)
            image = _image(fields, where)
            if image.features.shape[1] != self.feature_size:
                raise DataError(
                    f"{where}: its features have width {image.features.shape[1]}, those of the "
                    f"first image {self.feature_size}",
                    _SHORTENED,
                )
            yield image

    def _lines(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Where a line is, and its fields; split at tabs, because no field can hold one."""
        for path in self.files:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    columns = line.rstrip(b"\r\n").split(b"\t")
                    if columns == [b""] or (number == 1 and _is_title(columns)):
                        continue
                    where = f"{path}: line {number}"
                    layout = LAYOUTS.get(len(columns))
                    if layout is None:
                        raise DataError(
                            f"{where}: it has {len(columns)} fields, expected 6 (image_id, "
                            "image_w, image_h, num_boxes, boxes, features) or LXMERT's 10",
                            _SHORTENED,
                        )
                    yield where, {key: columns[place] for key, place in layout.items()}


def find_tsv(path: Path) -> list[Path]:
    """The files at ``path`` that begin as such a file does, sorted by name."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if file.is_file() and _fits(file)]


def _fits(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    lines = head.split(b"\n")
    columns = lines[0].split(b"\t")
    if _is_title(columns):
        return True
    # A long first line may not be in the head as a whole: its features come last.
    if len(columns) < (6 if len(lines) == 1 else 5):
        return False
    places = (1, 2, 3) if len(columns) <= 6 else (1, 2, 7)
    return all(place < len(columns) and columns[place].strip().isdigit() for place in places)


def _is_title(columns: list[bytes]) -> bool:
    return columns[0].decode("ascii", "replace").strip().lower() in _TITLES


def _image(fields: dict[str, bytes], where: str) -> Features:
    count, width, height = (_number(fields, key, where) for key in ("count", "width", "height"))
    if count < 1:
        raise DataError(f"{where}: it has no region", "delete the line")
    boxes = _floats(fields, "boxes", where)
    features = _floats(fields, "features", where)
    if boxes.size != 4 * count:
        raise DataError(
            f"{where}: {counted(boxes.size, 'number')} of boxes for "
            f"{counted(count, 'region')}, expected {4 * count}",
            _SHORTENED,
        )
    if features.size % count or not features.size:
        raise DataError(
            f"{where}: features of {counted(features.size, 'number')} do not divide among "
            f"{counted(count, 'region')}",
            _SHORTENED,
        )
    size = (height, width)
    return Features(
        features.reshape(count, -1), fractions(boxes.reshape(-1, 4), size, where=where), size
    )


def _text(value: bytes, where: str) -> str:
    try:
        text = value.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise DataError(f"{where}: its image_id is no UTF-8", AGAIN) from None
    if not text:
        raise DataError(f"{where}: its image_id is empty", AGAIN)
    return text


def _number(fields: dict[str, bytes], key: str, where: str) -> int:
    try:
        return int(fields[key])
    except ValueError:
        raise DataError(
            f"{where}: {key} is {fields[key][:40]!r}, expected a number", AGAIN
        ) from None


def _floats(fields: dict[str, bytes], key: str, where: str) -> Float32:
    value = fields[key]
    if value.startswith((b"b'", b'b"')):  # written by Python 3 as the text of its bytes
        value = value[2:-1]
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise DataError(f"{where}: {key} is no base64: {error}", _SHORTENED) from None
    if len(data) % 4:
        raise DataError(f"{where}: {key} is no base64 of float32", _SHORTENED)
    return np.frombuffer(data, "<f4").astype(np.float32)
