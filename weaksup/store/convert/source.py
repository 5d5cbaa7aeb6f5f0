"""What readers of others' region features have in common.

Letters: R regions of an image, D feature width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from weaksup.errors import DataError
from weaksup.store.writer import StoreItem
from weaksup.types import STATUS_NO_REGION, STATUS_OK, CaptionedImage, Float32, Regions

# A box that covers so much of the image stands for the whole image.
WHOLE_IMAGE = 0.98
# Boxes may lie so far outside the image by rounding: a share of its sides.
_OUTSIDE = 0.02

AGAIN = "fetch or make the file again"


@dataclass(frozen=True)
class Features:
    """The regions of one image, as a file has them.

    Attributes:
        features: (R, D) float32.
        boxes: (R, 4) float32, x1 y1 x2 y2 as fractions of width and height; None if unknown.
        size: height and width in pixels; (0, 0) if unknown.
    """

    features: Float32
    boxes: Float32 | None
    size: tuple[int, int]


@dataclass
class FeatureSource(ABC):
    """A file or folder of region features that is read image by image.

    Attributes:
        format: ``precomp``, ``npz`` or ``tsv``.
        path: as it was given.
        names: of the images, as the source has them, each once.
        feature_size: D.
        captioned: for a source with captions, its images under the same names; else empty.
        whole_image_first: the first region of every image is the whole image already.
        notes: what was passed over, a sentence each.
        files: everything that is read.
        origin: what the source says of itself, JSON-compatible.
    """

    format: ClassVar[str]

    path: Path
    names: list[str] = field(default_factory=list)
    feature_size: int = 0
    captioned: list[CaptionedImage] = field(default_factory=list)
    whole_image_first: bool = False
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)

    @abstractmethod
    def read(self) -> Iterator[Features]:
        """The images in the order of ``names``.

        Raises:
            DataError: if a file is damaged; the message says which and how.
        """
        ...


def fractions(boxes: npt.NDArray[Any], size: tuple[int, int], *, where: str) -> Float32:
    """Boxes in pixels as fractions of width and height; boxes within 0..1 are fractions already.

    Args:
        boxes: (R, 4), x1 y1 x2 y2.
        size: height and width in pixels; (0, 0) if unknown.
        where: names file and image in errors.

    Raises:
        DataError: if boxes are not finite, empty of sense or outside the image.
    """
    boxes = np.asarray(boxes, np.float64)
    if not np.isfinite(boxes).all():
        raise DataError(f"{where}: a box is not finite", AGAIN)
    if boxes.size and boxes.max() > 1:
        height, width = size
        if height < 1 or width < 1:
            raise DataError(
                f"{where}: its boxes are in pixels, and the size of its image is not known", AGAIN
            )
        boxes = boxes / [width, height, width, height]
    if (boxes < -_OUTSIDE).any() or (boxes > 1 + _OUTSIDE).any():
        raise DataError(
            f"{where}: boxes lie outside the image of {size[1]}x{size[0]} pixels",
            "see whether boxes are x1 y1 x2 y2, and width and height in their places",
        )
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise DataError(f"{where}: a box ends before it begins", "boxes must be x1 y1 x2 y2")
    return np.clip(boxes, 0, 1).astype(np.float32)


def store_item(image: Features, *, whole_image_first: bool, where: str) -> StoreItem:
    """What an image leaves in the store, the whole image first.

    Unless the source says that it is there, a region that covers 98 % of the image is taken for
    it; if there is none, one is put before the others whose feature is their mean.

    Raises:
        DataError: if a feature is not finite.
    """
    features, boxes = image.features, image.boxes
    if not np.isfinite(features).all():
        raise DataError(f"{where}: its features are not finite", AGAIN)
    if whole_image_first and boxes is None:
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(features), 1))
    elif not whole_image_first:
        features, boxes = _whole_image_first(features, boxes)
    count = len(features)
    return StoreItem(
        size=image.size,
        status=STATUS_OK if count > 1 else STATUS_NO_REGION,
        regions=Regions(
            boxes=np.asarray(boxes, np.float32),
            features=features,
            scores=np.ones(count, np.float32),
            objects=np.full(count, -1, np.int32),
            attributes=np.zeros((count, 0), np.int32),
        ),
    )


def _whole_image_first(features: Float32, boxes: Float32 | None) -> tuple[Float32, Float32]:
    whole = np.array([[0, 0, 1, 1]], np.float32)
    if boxes is not None:
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        largest = int(areas.argmax())
        if areas[largest] >= WHOLE_IMAGE:
            order = [largest, *(i for i in range(len(features)) if i != largest)]
            return features[order], np.concatenate([whole, boxes[order[1:]]])
    else:
        boxes = np.tile(whole, (len(features), 1))
    mean = features.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    return np.concatenate([mean, features]), np.concatenate([whole, boxes])
