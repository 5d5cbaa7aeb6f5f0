"""A detector: the whole image and its four quarters, with histograms of colour as features."""

import numpy as np

from weaksup.detectors.base import Detections
from weaksup.types import Provenance


class GridDetector:
    objects = ("quarter",)
    attributes = ()

    def __init__(self, *, bins: int = 8) -> None:
        self.bins, self.feature_size = bins, 3 * bins
        # Whatever changes a feature belongs here: stores of other settings are told apart by it.
        self.provenance = Provenance("grid", "", {"bins": bins})

    def detect(self, images):
        return [self._detect(image.pixels) for image in images]

    def _detect(self, pixels):
        height, width = pixels.shape[:2]
        x, y = width // 2, height // 2
        boxes = [(0, 0, width, height), (0, 0, x, y), (x, 0, width, y), (0, y, x, height)]
        boxes.append((x, y, width, height))
        crops = [pixels[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes]
        return Detections(
            boxes=np.array(boxes, np.float32),
            features=np.stack([self._histogram(crop) for crop in crops]).astype(np.float32),
            scores=np.array([1, 0.5, 0.5, 0.5, 0.5], np.float32),
            objects=np.array([-1, 0, 0, 0, 0], np.int32),
            attributes=np.zeros((5, 0), np.int32),
        )

    def _histogram(self, crop):
        counts = [np.histogram(crop[..., c], self.bins, (0, 256))[0] for c in range(3)]
        return np.concatenate(counts) / max(1, crop.shape[0] * crop.shape[1])
