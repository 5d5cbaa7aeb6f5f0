"""The protocol that every detector fulfils.

Letters: M regions of one image, D feature width, K class slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from weaksup.types import Float32, Image, Int32, Provenance


@dataclass(frozen=True)
class Detections:
    """What a detector says about one image: the whole image first, then by falling score.

    Attributes:
        boxes: (M, 4) float32, x1 y1 x2 y2 in pixels of ``Image.pixels``.
        features: (M, D) float32, or (M, 0) from a detector built without region features.
        scores: (M,) float32 in [0, 1]; 1 for the whole image.
        objects: (M,) int32, rows of ``Detector.objects``, -1 for none (the whole image).
        attributes: (M, A) int32, rows of ``Detector.attributes``, -1 as padding; A is 0 when the
            detector has no attributes of its own.
    """

    boxes: Float32
    features: Float32
    scores: Float32
    objects: Int32
    attributes: Int32


@dataclass(frozen=True)
class PooledRegions:
    """What a feature model says about the regions of one image.

    Attributes:
        features: (M, D) float32.
        classes: (M, K) int32, rows of ``FeatureModel.classes``, the most probable first, -1 as
            padding; K is 0 for a model without classes.
        class_scores: (M, K) float32 in [0, 1], their probabilities, 0 as padding.
    """

    features: Float32
    classes: Int32
    class_scores: Float32

    @classmethod
    def without_classes(cls, features: Float32) -> PooledRegions:
        """Features (M, D) alone: K is 0."""
        shape = (len(features), 0)
        return cls(features, np.zeros(shape, np.int32), np.zeros(shape, np.float32))


class Detector(Protocol):
    """Boxes, region features and labels for batches of decoded images."""

    @property
    def objects(self) -> Sequence[str]:
        """Object labels, as the detector's makers wrote them."""

    @property
    def attributes(self) -> Sequence[str]:
        """Attribute labels; empty when the detector has none of its own."""

    @property
    def feature_size(self) -> int:
        """D; 0 for a detector built without region features."""

    @property
    def provenance(self) -> Provenance:
        """Name, weights hash and every setting that changes the result."""

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Detect on a batch; the result depends on the batch alone, not on earlier batches."""


class FeatureModel(Protocol):
    """A second network whose feature map regions are pooled from (``--feature-model``)."""

    @property
    def feature_size(self) -> int:
        """D, the width of a region feature."""

    @property
    def classes(self) -> Sequence[str]:
        """Labels of the network's own classes, each its names with ", " between; empty without."""

    @property
    def class_slots(self) -> int:
        """K, how many classes a region gets; 0 without classes."""

    @property
    def provenance(self) -> Provenance:
        """Name, weights hash, input size and normalisation."""

    def pool(self, images: Sequence[Image], boxes: Sequence[Float32]) -> list[PooledRegions]:
        """Region features of each image, and classes if the model has some.

        Args:
            images: N decoded images.
            boxes: N arrays (M, 4) float32, x1 y1 x2 y2 in pixels of ``Image.pixels``.

        Returns:
            What is said of the M regions of each of the N images.
        """
