"""What passes between stages. Plain frozen dataclasses; arrays are numpy.

Letters: M regions of one image, D feature width, A attribute slots, K class slots, H and W height
and width in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)

STATUS_OK, STATUS_UNREADABLE, STATUS_NO_REGION = 0, 1, 2


@dataclass(frozen=True)
class Image:
    """A decoded image.

    Attributes:
        id: path relative to its image folder, with suffix, ``/`` between the parts.
        pixels: (H, W, 3) uint8, RGB, upright (EXIF orientation applied).
        size: height and width in pixels of the upright picture as stored on disk. ``pixels``
            may be smaller: huge pictures are decoded at a reduced size.
    """

    id: str
    pixels: UInt8
    size: tuple[int, int]


@dataclass(frozen=True)
class Regions:
    """The regions of one image, the whole image first, then by falling score.

    Attributes:
        boxes: (M, 4) float32, x1 y1 x2 y2 as fractions of width and height, in [0, 1].
        features: (M, D) float32.
        scores: (M,) float32 in [0, 1]; 1 for the whole image.
        objects: (M,) int32, rows of the object vocabulary, -1 for none.
        attributes: (M, A) int32, rows of the attribute vocabulary, -1 as padding.
        classes: (M, K) int32, rows of the feature network's classes, the most probable first, -1
            as padding; K is 0 where that network names none.
        class_scores: (M, K) float32, their probabilities, 0 as padding.
    """

    boxes: Float32
    features: Float32
    scores: Float32
    objects: Int32
    attributes: Int32
    classes: Int32 = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    class_scores: Float32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class CaptionedImage:
    """An image of a corpus, with its captions in file order.

    Attributes:
        id: the image's name as the corpus has it, ``/`` between the parts.
        captions: the raw sentences, never empty strings.
        split: ``train``, ``val`` or ``test``; None where the corpus names no split. An image
            without a split in a corpus that names splits for others is used nowhere.
    """

    id: str
    captions: tuple[str, ...]
    split: str | None = None


@dataclass(frozen=True)
class Corpus:
    """Captions as read from one file.

    Attributes:
        images: in file order, each id once.
        source: the file that was read.
        format: the reader's name (``karpathy``, ``coco``, ``flickr``, ``table``).
        fingerprint: sha256 (hex) over ids, splits and captions: equal for equal content.
        notes: what the reader dropped or repaired, a sentence each.
    """

    images: tuple[CaptionedImage, ...]
    source: str
    format: str
    fingerprint: str
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> tuple[CaptionedImage, ...]:
        """The images of one split."""
        return tuple(image for image in self.images if image.split == name)


@dataclass(frozen=True)
class Annotations:
    """Which training images keep which gold captions (``annotations.json``)."""

    ratio: float
    unit: str
    strategy: str
    seed: int
    captions: str
    fingerprint: str
    annotated: tuple[str, ...]
    unannotated: tuple[str, ...]
    captions_kept: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """How a region store was made: what a reader needs to refuse a mismatch.

    Attributes:
        detector: adapter and model name, such as ``onnx:yolox_nano``.
        weights_sha256: of the detector's weights file.
        settings: JSON-compatible; everything that changes boxes or features.
    """

    detector: str
    weights_sha256: str
    settings: dict[str, Any]
