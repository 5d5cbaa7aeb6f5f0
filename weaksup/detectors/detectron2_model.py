"""Detectron2's Faster R-CNN as a detector with region features.

Letters: M regions of one image, P proposals of one image, C classes without the background,
D feature width, N boxes of all images together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling.roi_heads import Res5ROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, ImageList, Instances
from PIL import Image as Pillow
from torch import Tensor, nn

from weaksup.detectors import attribute_head
from weaksup.detectors.base import Detections
from weaksup.detectors.select import select_regions
from weaksup.detectors.torch_device import resolve_device, resolve_precision
from weaksup.detectors.torchvision import FLOOR_STEP, FLOOR_STEPS, NAMELESS
from weaksup.types import Float32, Image, Int32, Provenance


class Detectron2Detector:
    """A ``GeneralizedRCNN`` with one box head: its boxes, and the head's output as features.

    Boxes, labels and scores are those of the model's own ``inference`` with the same score
    threshold; a smaller threshold only reveals more boxes below them, which is how ``min_regions``
    is met. The features of the final boxes and of the whole image come from the same feature maps:
    an image goes through the backbone once. Pictures of one batch are padded to one size, as in
    detectron2 itself.

    Args:
        model: with an RPN and ``StandardROIHeads`` or ``Res5ROIHeads``, these with an
            ``AttributeHead`` as ``attribute_predictor`` if there are attributes.
        labels: C names; ``NAMELESS`` classes are never reported.
        attribute_labels: names of the attribute head's classes; empty without one.
        name: for the provenance, such as ``detectron2:COCO-Detection/faster_rcnn_R_50_FPN_3x``.
        weights_sha256: of the weights file.
        config_sha256: of the configuration that the model was built from.
        settings: what else belongs to the provenance.
        min_side: the shorter side of the network's input in pixels; 0 leaves pictures as they are.
        max_side: the most pixels of its longer side, which goes first.
        with_features: False leaves the features out: (M, 0).
        score_threshold: regions score more than this, unless there are too few of them.
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
        attribute_labels: Sequence[str] = (),
        name: str,
        weights_sha256: str,
        config_sha256: str,
        min_side: int,
        max_side: int,
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
        # The parts of a GeneralizedRCNN are attributes that nn.Module does not declare.
        network: Any = model.eval().requires_grad_(False).to(self._device)
        self._model = network
        predictor = network.roi_heads.box_predictor
        if len(labels) != predictor.num_classes:
            raise ValueError(f"{len(labels)} labels for a model of {predictor.num_classes} classes")
        named = [row for row, label in enumerate(labels) if label not in NAMELESS]
        self._objects = tuple(labels[row] for row in named)
        self._attributes = tuple(attribute_labels)
        # Class of the model -> row of `objects`, -1 for none.
        self._rows = torch.full((len(labels),), -1, device=self._device)
        self._rows[named] = torch.arange(len(named), device=self._device)
        self._min_side = min_side
        self._max_side = max_side
        self._score_threshold = score_threshold
        self._min_regions = min_regions
        self._max_regions = max_regions
        self._feature_size = int(predictor.cls_score.in_features) if with_features else 0
        self._provenance = Provenance(
            detector=name,
            weights_sha256=weights_sha256,
            settings={
                **(settings or {}),
                "config_sha256": config_sha256,
                "input": [min_side, max_side],
                "nms_threshold": predictor.test_nms_thresh,
                "precision": str(self._dtype).removeprefix("torch."),
                "score_threshold": score_threshold,
                "min_regions": min_regions,
                "max_regions": max_regions,
                "features": "box head" if with_features else "none",
                **({"attribute_threshold": attribute_head.THRESHOLD} if attribute_labels else {}),
            },
        )

    @property
    def objects(self) -> Sequence[str]:
        return self._objects

    @property
    def attributes(self) -> Sequence[str]:
        return self._attributes

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
        batch = self._model.preprocess_image([{"image": self._tensor(image)} for image in images])
        maps = self._model.backbone(batch.tensor)
        chosen = [self._choose(*parts) for parts in self._candidates(batch, maps)]
        boxes = [
            Boxes.cat([_whole(size, device=self._device), found.pred_boxes])
            for found, size in zip(chosen, batch.image_sizes, strict=True)
        ]
        inner = self._inner_of_final(maps, boxes)
        result = []
        for i, found in enumerate(chosen):
            rows = self._rows[found.pred_classes].cpu().numpy()
            result.append(
                Detections(
                    boxes=_in_picture(boxes[i], batch.image_sizes[i], images[i].pixels.shape[:2]),
                    features=_array(inner[i])[:, : self._feature_size],
                    scores=np.concatenate([np.ones(1, np.float32), _array(found.scores)]),
                    objects=np.concatenate([[-1], rows]).astype(np.int32),
                    attributes=self._attribute_rows(inner[i], found.pred_classes),
                )
            )
        return result

    def _tensor(self, image: Image) -> Tensor:
        """The picture as (3, h, w) float32 in 0..255, resized as detectron2's predictor does."""
        height, width = image.pixels.shape[:2]
        if self._min_side:
            height, width = ResizeShortestEdge.get_output_shape(
                height, width, self._min_side, self._max_side
            )
        # The shorter side of a long strip is rounded down to 0 pixels.
        size = (max(width, 1), max(height, 1))
        pixels = np.array(
            Pillow.fromarray(image.pixels).resize(size, Pillow.Resampling.BILINEAR),
            dtype=np.float32,
        )
        if self._model.input_format == "BGR":
            pixels = pixels[:, :, ::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _candidates(
        self, batch: ImageList, maps: dict[str, Tensor]
    ) -> list[tuple[Tensor, Tensor, tuple[int, int]]]:
        """Of each image, in pixels of the network's input, before suppression.

        Boxes (P, 4 C), or (P, 4) where all classes share one; scores (P, C + 1), the background
        last and ``NAMELESS`` classes 0; height and width of the picture.
        """
        predictor = self._model.roi_heads.box_predictor
        proposals, _ = self._model.proposal_generator(batch, maps, None)
        predictions = predictor(self._inner(maps, [one.proposal_boxes for one in proposals]))
        boxes = predictor.predict_boxes(predictions, proposals)
        scores = [one.float() for one in predictor.predict_probs(predictions, proposals)]
        for one in scores:
            one[:, :-1][:, self._rows < 0] = 0
        return list(zip(boxes, scores, batch.image_sizes, strict=True))

    def _choose(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Instances:
        """From the candidates of one image to its regions without the whole, by falling score.

        Args:
            boxes: (P, 4 C) or (P, 4).
            scores: (P, C + 1).
            size: height and width of the picture inside the network's input.
        """
        nms_threshold = self._model.roi_heads.box_predictor.test_nms_thresh
        floor = self._score_threshold
        for step in range(FLOOR_STEPS + 1):
            (found,), _ = fast_rcnn_inference([boxes], [scores], [size], floor, nms_threshold, -1)
            found = found[found.pred_boxes.nonempty()]
            if floor == 0 or len(found) >= self._min_regions - 1:
                break
            floor = floor * FLOOR_STEP if step + 1 < FLOOR_STEPS else 0.0
        kept = select_regions(
            _array(found.scores),
            score_threshold=self._score_threshold,
            min_regions=self._min_regions,
            max_regions=self._max_regions,
        )
        return found[torch.from_numpy(kept).to(self._device)]

    def _inner_of_final(self, maps: dict[str, Tensor], boxes: list[Boxes]) -> Sequence[Tensor]:
        """The box head's output (M, D) for boxes (M, 4) in pixels of the network's input.

        (M, 0) where nothing is made of it.
        """
        if not (self._feature_size or self._attributes):
            return [rows.tensor.new_zeros((len(rows), 0)) for rows in boxes]
        split: Sequence[Tensor] = self._inner(maps, boxes).split([len(rows) for rows in boxes])
        return split

    def _attribute_rows(self, inner: Tensor, classes: Tensor) -> Int32:
        """Attributes (M, A) from the box head's output (M, D) and classes (M - 1,).

        The whole image, which comes first, has no class and so no attributes.
        """
        if not self._attributes:
            return np.zeros((len(inner), 0), dtype=np.int32)
        rows = attribute_head.surest(self._model.roi_heads.attribute_predictor(inner[1:], classes))
        return np.concatenate([np.full((1, rows.shape[1]), -1, dtype=np.int32), rows])

    def _inner(self, maps: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """What the class scores are computed from: (N, D)."""
        heads = self._model.roi_heads
        inner: Tensor
        if isinstance(heads, Res5ROIHeads):
            pooled = heads.pooler([maps[name] for name in heads.in_features], boxes)
            inner = heads.res5(pooled).mean(dim=(2, 3))
        else:
            pooled = heads.box_pooler([maps[name] for name in heads.box_in_features], boxes)
            inner = heads.box_head(pooled).flatten(start_dim=1)
        return inner


def _whole(size: tuple[int, int], *, device: torch.device) -> Boxes:
    """The box of a whole picture of ``size`` (height, width)."""
    return Boxes(torch.tensor([[0.0, 0.0, size[1], size[0]]], device=device))


def _in_picture(boxes: Boxes, size: tuple[int, int], picture: tuple[int, ...]) -> Float32:
    """Boxes (M, 4) of the network's input, ``size``, in pixels of a picture (height, width)."""
    scaled = boxes.clone()
    scaled.scale(picture[1] / size[1], picture[0] / size[0])
    scaled.clip(picture)
    return _array(scaled.tensor)


def _array(values: Tensor) -> Float32:
    result: Float32 = values.float().cpu().numpy()
    return result
