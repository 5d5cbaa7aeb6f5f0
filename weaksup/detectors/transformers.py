"""Hugging Face's detectors (the package ``transformers``) with region features.

Letters: M regions of one image, K candidates of one image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from weaksup.detectors.base import Detections
from weaksup.detectors.select import class_wise_nms, clip_boxes, select_regions
from weaksup.detectors.transformers_networks import Candidates, Network
from weaksup.types import Float32, Image, Provenance, UInt8

# Longer strips are made thicker, for resizing to a longest side would leave nothing of them.
MOST_ELONGATED = 32
SMALLEST_SIDE = 1e-2  # pixels; boxes that clipping leaves nothing of


class TransformersDetector:
    """A network's candidates, chosen as every detector's are.

    Boxes, labels and scores are those of the package's own post-processing, clipped to the picture.
    An image goes through the network once. Where pictures of one batch are padded to one size,
    that changes values near the padded borders a little, as in the package itself.

    Args:
        network: finds the candidates.
        name: for the provenance, such as ``transformers:PekingU/rtdetr_r50vd``.
        weights_sha256: of the weights.
        settings: what else belongs to the provenance.
        device: the network's.
        dtype: of the matrix products.
        score_threshold: regions score at least this, unless there are too few of them.
        min_regions: fill up to so many regions with the best of the others, the whole image
            counted in.
        max_regions: keep the best of more, the whole image counted in.
    """

    # A torch model uses all cores by itself: batches one after another.
    concurrent = False

    def __init__(
        self,
        *,
        network: Network,
        name: str,
        weights_sha256: str,
        settings: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
        score_threshold: float = 0.2,
        min_regions: int = 10,
        max_regions: int = 36,
    ) -> None:
        self._network, self._device, self._dtype = network, device, dtype
        self._score_threshold = score_threshold
        self._min_regions = min_regions
        self._max_regions = max_regions
        self._provenance = Provenance(
            detector=name,
            weights_sha256=weights_sha256,
            settings={
                **settings,
                **network.settings,
                "nms_threshold": network.nms_threshold,
                "precision": str(dtype).removeprefix("torch."),
                "score_threshold": score_threshold,
                "min_regions": min_regions,
                "max_regions": max_regions,
            },
        )

    @property
    def objects(self) -> Sequence[str]:
        return self._network.objects

    @property
    def attributes(self) -> Sequence[str]:
        return ()

    @property
    def feature_size(self) -> int:
        return self._network.feature_size

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    @torch.inference_mode()
    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Detect on a batch in one forward pass."""
        if not images:
            return []
        pictures = [_no_strip(image.pixels) for image in images]
        inputs = self._network.prepare(pictures)
        with torch.autocast(
            self._device.type, dtype=self._dtype, enabled=self._dtype != torch.float32
        ):
            found = self._network.find(inputs, [_size(pixels) for pixels in pictures])
        return [self._choose(found, row, _size(image.pixels)) for row, image in enumerate(images)]

    def _choose(self, found: Candidates, row: int, size: tuple[int, int]) -> Detections:
        """The regions of the image in ``row``, of ``size`` (height, width) in pixels."""
        height, width = size
        whole = np.array([[0, 0, width, height]], np.float32)
        pixels = np.array([width, height, width, height], np.float32)
        boxes = clip_boxes(found.boxes[row].cpu().numpy() * pixels, size=size)
        scores = found.scores[row].cpu().numpy()
        labels = found.labels[row].cpu().numpy().astype(np.int32)
        sides = boxes[:, 2:] - boxes[:, :2]
        left = np.flatnonzero((labels >= 0) & (sides >= SMALLEST_SIDE).all(axis=1))
        if self._network.nms_threshold is not None:
            kept = class_wise_nms(
                boxes[left],
                scores[left],
                labels[left],
                threshold=self._network.nms_threshold,
                enough=self._max_regions - 1,
            )
            left = left[kept]
        chosen = left[
            select_regions(
                scores[left],
                score_threshold=self._score_threshold,
                min_regions=self._min_regions,
                max_regions=self._max_regions,
            )
        ]
        queries = found.queries[row, torch.from_numpy(chosen).to(self._device)]
        features = torch.cat([found.whole[row][None], found.features[row, queries]])
        return Detections(
            boxes=np.concatenate([whole, boxes[chosen]]),
            features=_array(features),
            scores=np.concatenate([np.ones(1, np.float32), scores[chosen]]),
            objects=np.concatenate([np.array([-1], np.int32), labels[chosen]]),
            attributes=np.zeros((len(chosen) + 1, 0), dtype=np.int32),
        )


def _no_strip(pixels: UInt8) -> UInt8:
    """The picture, made thicker if it is a thin strip. Boxes come out as shares of it."""
    height, width = _size(pixels)
    least = -(-max(height, width) // MOST_ELONGATED)
    if min(height, width) >= least:
        return pixels
    rows = np.arange(max(height, least)) * height // max(height, least)
    columns = np.arange(max(width, least)) * width // max(width, least)
    return pixels[rows][:, columns]


def _size(pixels: UInt8) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]


def _array(values: torch.Tensor) -> Float32:
    result: Float32 = values.float().cpu().numpy()
    return result
