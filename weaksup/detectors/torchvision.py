"""Torchvision's Faster R-CNN as a detector with region features.

Letters: B images of a batch, M regions of one image, K candidate boxes of one image, P proposals
of one image, C classes with the background, D feature width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from weaksup.detectors.base import Detections
from weaksup.detectors.select import select_regions
from weaksup.detectors.torch_device import resolve_device, resolve_precision
from weaksup.types import Float32, Image, Provenance

# Class names that name nothing: the background and the gaps in COCO's category ids.
NAMELESS = frozenset({"__background__", "background", "N/A"})

# Too few boxes over the threshold: look again below it, each time by this factor, at last at 0.
# Asking for everything at once would be slow: P x C candidates go through the suppression.
FLOOR_STEP = 0.1
FLOOR_STEPS = 4


class TorchvisionDetector:
    """A Faster R-CNN of torchvision's parts: its boxes, and its box head's output as features.

    Boxes, labels and scores are those of the model's own ``forward`` with the same score threshold;
    a smaller threshold only reveals more boxes below them, which is how ``min_regions`` is met. The
    features of the final boxes and of the whole image come from the same feature maps: an image
    goes through the backbone once. Pictures of one batch are padded to one size, which changes
    values near the padded borders a little, as in torchvision itself.

    Args:
        model: a ``torchvision.models.detection.FasterRCNN`` whose box head returns (N, D).
        labels: C names, the background first; ``NAMELESS`` classes are never reported.
        name: for the provenance, such as ``torchvision:fasterrcnn_resnet50_fpn``.
        weights_sha256: of the weights file.
        settings: what else belongs to the provenance.
        with_features: False leaves the features out: (M, 0).
        score_threshold: regions score at least this, unless there are too few of them.
        min_regions: fill up to so many regions with the best of the others, the whole image
            counted in.
        max_regions: keep the best of more, the whole image counted in.
        device: ``auto`` or a torch device.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; of the matrix products.

    Raises:
        ValueError: if the number of labels is not the model's number of classes.
        UsageError: for an unknown device or precision.
        MissingDependencyError: if the device cannot be used.
    """

    # A torch model uses all cores by itself: batches one after another.
    concurrent = False

    def __init__(
        self,
        *,
        model: nn.Module,
        labels: Sequence[str],
        name: str,
        weights_sha256: str,
        settings: Mapping[str, Any] | None = None,
        with_features: bool = True,
        score_threshold: float = 0.2,
        min_regions: int = 10,
        max_regions: int = 36,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self._device = resolve_device(device)
        self._dtype = resolve_precision(precision, device=self._device)
        # The parts of a Faster R-CNN are attributes that nn.Module does not declare.
        network: Any = model.eval().requires_grad_(False).to(self._device)
        self._model = network
        predictor = network.roi_heads.box_predictor.cls_score
        if len(labels) != predictor.out_features:
            raise ValueError(
                f"{len(labels)} labels for a model of {predictor.out_features} classes "
                "(the background is one of them)"
            )
        named = [row for row, label in enumerate(labels) if label not in NAMELESS]
        self._objects = tuple(labels[row] for row in named)
        # Class of the model -> row of `objects`, -1 for none.
        self._rows = torch.full((len(labels),), -1, device=self._device)
        self._rows[named] = torch.arange(len(named), device=self._device)
        self._score_threshold = score_threshold
        self._min_regions = min_regions
        self._max_regions = max_regions
        self._feature_size = int(predictor.in_features) if with_features else 0
        self._provenance = Provenance(
            detector=name,
            weights_sha256=weights_sha256,
            settings={
                **(settings or {}),
                "input": [network.transform.min_size[-1], network.transform.max_size],
                "nms_threshold": network.roi_heads.nms_thresh,
                "precision": str(self._dtype).removeprefix("torch."),
                "score_threshold": score_threshold,
                "min_regions": min_regions,
                "max_regions": max_regions,
                "features": "box head" if with_features else "none",
            },
        )
        self._fix_strides()

    @property
    def objects(self) -> Sequence[str]:
        return self._objects

    @property
    def attributes(self) -> Sequence[str]:
        return ()

    @property
    def feature_size(self) -> int:
        return self._feature_size

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    @torch.inference_mode()
    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Detect on a batch in one forward pass."""
        if not images:
            return []
        with torch.autocast(
            self._device.type, dtype=self._dtype, enabled=self._dtype != torch.float32
        ):
            return self._detect(images)

    def _detect(self, images: Sequence[Image]) -> list[Detections]:
        batch, _ = self._model.transform([self._tensor(image) for image in images])
        maps = self._maps(batch.tensors)
        candidates = self._candidates(batch, maps)
        chosen = [
            self._choose(*parts, size=size)
            for parts, size in zip(candidates, batch.image_sizes, strict=True)
        ]
        boxes = [
            torch.cat([_whole(size, like=found), found])
            for (found, _, _), size in zip(chosen, batch.image_sizes, strict=True)
        ]
        features = self._features(maps, boxes, batch.image_sizes)
        result = []
        for i, (_, scores, rows) in enumerate(chosen):
            pixels = images[i].pixels.shape[:2]
            result.append(
                Detections(
                    boxes=_array(resize_boxes(boxes[i], batch.image_sizes[i], pixels)),
                    features=features[i],
                    scores=np.concatenate([np.ones(1, np.float32), _array(scores)]),
                    objects=np.concatenate([[-1], rows.cpu().numpy()]).astype(np.int32),
                    attributes=np.zeros((len(boxes[i]), 0), dtype=np.int32),
                )
            )
        return result

    def _tensor(self, image: Image) -> Tensor:
        """The picture as (3, H, W) float32 in [0, 1], no thinner than the model's resizing bears.

        Torchvision scales the longer side to ``max_size`` at most and rounds down: the shorter side
        of a long strip would end at 0 pixels. Such a strip is made thicker; boxes come out as
        shares of it, so that nothing else needs to know.
        """
        # A copy: decoders hand out arrays that torch must not write to.
        pixels = torch.from_numpy(np.array(image.pixels)).to(self._device)
        tensor = pixels.permute(2, 0, 1).float().div_(255)
        height, width = image.pixels.shape[:2]
        least = max(height, width) // self._model.transform.max_size + 1
        if min(height, width) >= least:
            return tensor
        size = (max(height, least), max(width, least))
        return nn.functional.interpolate(tensor[None], size=size, mode="nearest")[0]

    def _maps(self, pixels: Tensor) -> dict[str, Tensor]:
        maps: Tensor | dict[str, Tensor] = self._model.backbone(pixels)
        return {"0": maps} if isinstance(maps, Tensor) else maps

    def _candidates(self, batch: ImageList, maps: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Boxes (P, C, 4) in pixels of the network's input, and scores (P, C), of each image."""
        heads = self._model.roi_heads
        proposals, _ = self._model.rpn(batch, maps)
        inner = heads.box_head(heads.box_roi_pool(maps, proposals, batch.image_sizes))
        logits, offsets = heads.box_predictor(inner)
        boxes = heads.box_coder.decode(offsets.float(), proposals)
        scores = logits.float().softmax(dim=-1)
        counts = [len(rows) for rows in proposals]
        return list(zip(boxes.split(counts), scores.split(counts), strict=True))

    def _choose(
        self, boxes: Tensor, scores: Tensor, *, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """From all candidates to the regions of one image, by falling score.

        Args:
            boxes: (P, C, 4) in pixels of the network's input.
            scores: (P, C).
            size: height and width of the picture inside the network's input.

        Returns:
            Boxes (M - 1, 4), scores (M - 1,) and rows of ``objects`` (M - 1,).
        """
        boxes = clip_boxes_to_image(boxes, size)
        nms_threshold = self._model.roi_heads.nms_thresh
        floor = self._score_threshold
        for step in range(FLOOR_STEPS + 1):
            found = self._over(boxes, scores, floor=floor, nms_threshold=nms_threshold)
            if floor == 0 or len(found[0]) >= self._min_regions - 1:
                break
            floor = floor * FLOOR_STEP if step + 1 < FLOOR_STEPS else 0.0
        kept = select_regions(
            _array(found[1]),
            score_threshold=self._score_threshold,
            min_regions=self._min_regions,
            max_regions=self._max_regions,
        )
        index = torch.from_numpy(kept).to(self._device)
        return found[0][index], found[1][index], found[2][index]

    def _over(
        self, boxes: Tensor, scores: Tensor, *, floor: float, nms_threshold: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Candidates that score ``floor`` or more, after suppression within each class."""
        proposal, kind = torch.where((scores >= floor) & (self._rows >= 0))
        boxes, scores = boxes[proposal, kind], scores[proposal, kind]
        large = remove_small_boxes(boxes, min_size=1e-2)
        boxes, scores, kind = boxes[large], scores[large], kind[large]
        kept = batched_nms(boxes, scores, kind, nms_threshold)
        return boxes[kept], scores[kept], self._rows[kind[kept]]

    def _features(
        self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[Float32]:
        """The box head's output (M, D) for boxes (M, 4) in pixels of the network's input."""
        if not self._feature_size:
            return [np.zeros((len(rows), 0), dtype=np.float32) for rows in boxes]
        heads = self._model.roi_heads
        inner: Tensor = heads.box_head(heads.box_roi_pool(maps, boxes, sizes))
        return [_array(rows) for rows in inner.split([len(rows) for rows in boxes])]

    @torch.inference_mode()
    def _fix_strides(self) -> None:
        """Show the pooling a square picture first.

        It infers the strides of the maps from the first pictures that it sees, and keeps them: with
        a long strip first, it would infer wrong ones, and a result would depend on earlier batches.
        """
        side = 256
        maps = self._maps(torch.zeros(1, 3, side, side, device=self._device))
        box = torch.tensor([[0.0, 0.0, side, side]], device=self._device)
        self._model.roi_heads.box_roi_pool(maps, [box], [(side, side)])


def _whole(size: tuple[int, int], *, like: Tensor) -> Tensor:
    """The box (1, 4) of a whole picture of ``size`` (height, width)."""
    return torch.tensor([[0, 0, size[1], size[0]]], dtype=like.dtype, device=like.device)


def _array(values: Tensor) -> Float32:
    result: Float32 = values.float().cpu().numpy()
    return result
