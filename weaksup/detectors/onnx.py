"""Any ONNX detector, given a small description of it.

Letters: M regions of one image, D feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from weaksup.detectors import onnx_outputs, roi_align
from weaksup.detectors.base import Detections
from weaksup.detectors.description import DetectorDescription
from weaksup.detectors.known_files import KnownFiles
from weaksup.detectors.onnx_presets import describe
from weaksup.detectors.onnx_session import OnnxFile
from weaksup.detectors.origin import Origin
from weaksup.detectors.preprocess import network_input, zoom
from weaksup.detectors.select import class_wise_nms, clip_boxes, select_regions
from weaksup.errors import DataError, UsageError
from weaksup.files import sha256
from weaksup.types import Float32, Image, Provenance


def find_origin(provenance: Provenance, known: KnownFiles) -> Origin:
    """What a store's ONNX detector was built from.

    Raises:
        MissingDependencyError: if its file is not known.
    """
    path = known.find(provenance.weights_sha256)
    if path is None:
        raise known.missing_weights(provenance)
    return Origin(str(path), labels=provenance.settings["description"]["labels"])


class OnnxDetector:
    """A detector in an ONNX file.

    ``detect`` may be called from several threads at once.

    Args:
        path: the ONNX file.
        description: of its input and outputs; by default what ``describe`` finds.
        labels: object names in place of those that ``describe`` finds.
        with_features: whether to pool region features from the description's tensors.
        score_threshold: regions score at least this, unless there are too few of them.
        min_regions: fill up to so many regions with the best of the others, the whole image
            counted in.
        max_regions: keep the best of more, the whole image counted in.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: for a missing file, or a model that needs a description and has none.
        DataError: for a damaged file, or one that does not fit its description.
        MissingDependencyError: if ONNX Runtime cannot use the device.
    """

    concurrent = True

    def __init__(
        self,
        path: Path,
        *,
        description: DetectorDescription | None = None,
        labels: Sequence[str] | None = None,
        with_features: bool = True,
        score_threshold: float = 0.2,
        min_regions: int = 10,
        max_regions: int = 36,
        device: str = "auto",
    ) -> None:
        file = OnnxFile(path)
        description = description or describe(file, labels=labels)
        if with_features and not description.features:
            raise UsageError(
                f"no tensors to pool region features from are known for {path}",
                "name some as `features` in its description, or give --feature-model",
            )
        self._description = description
        self._score_threshold = score_threshold
        self._min_regions = min_regions
        self._max_regions = max_regions
        names = onnx_outputs.output_names(description, [output.name for output in file.outputs])
        self._outputs = len(names)
        self._with_features = with_features
        inner = description.features if with_features else ()
        self._session = file.session(outputs=[*names, *inner], device=device)
        self._feature_size = self._probe()
        self._provenance = Provenance(
            detector=f"onnx:{path.stem}",
            weights_sha256=sha256(path),
            settings={
                "description": asdict(description),
                "score_threshold": score_threshold,
                "min_regions": min_regions,
                "max_regions": max_regions,
                "candidate_score": onnx_outputs.CANDIDATE_SCORE,
                "features": "own" if with_features else "none",
            },
        )

    @property
    def objects(self) -> Sequence[str]:
        return self._description.labels

    @property
    def attributes(self) -> Sequence[str]:
        return ()

    @property
    def feature_size(self) -> int:
        return self._feature_size

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Detect on each image; the images of a batch do not influence one another."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> Detections:
        recipe = self._description.recipe
        arrays = self._session.run(network_input(image.pixels, recipe))
        heads, maps = arrays[: self._outputs], arrays[self._outputs :]
        size = (image.pixels.shape[0], image.pixels.shape[1])
        factors = np.array(zoom(recipe, size=size) * 2, dtype=np.float32)
        candidates = onnx_outputs.read(heads, self._description)
        boxes = clip_boxes(candidates.boxes / factors, size=size)
        # A sliver of less than a pixel shows nothing, and clipping makes slivers.
        visible = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= 1
        boxes = boxes[visible]
        scores, labels = candidates.scores[visible], candidates.labels[visible]
        kept = class_wise_nms(
            boxes,
            scores,
            labels,
            threshold=self._description.nms_threshold,
            enough=self._max_regions,
        )
        kept = kept[
            select_regions(
                scores[kept],
                score_threshold=self._score_threshold,
                min_regions=self._min_regions,
                max_regions=self._max_regions,
            )
        ]
        whole = np.array([[0, 0, size[1], size[0]]], dtype=np.float32)
        boxes = np.concatenate([whole, boxes[kept]])
        return Detections(
            boxes=boxes,
            features=self._pool(heads, maps, boxes * factors),
            scores=np.concatenate([np.ones(1, np.float32), scores[kept]]),
            objects=np.concatenate([np.full(1, -1, np.int32), labels[kept]]),
            attributes=np.zeros((len(boxes), 0), dtype=np.int32),
        )

    def _pool(self, heads: Sequence[Float32], maps: Sequence[Float32], boxes: Float32) -> Float32:
        """Region features (M, D) of boxes (M, 4) in pixels of the network's input."""
        if not self._with_features:
            return np.zeros((len(boxes), 0), dtype=np.float32)
        size = self._description.recipe.size
        grids = []
        if self._description.class_score_features:
            grids = onnx_outputs.yolox_class_grids(heads[0], size=size)
        means = roi_align.average_maps([level[0] for level in maps], boxes, size=size, grids=grids)
        columns, scores = means[: len(maps)], means[len(maps) :]
        if scores:
            columns.append(np.mean(scores, axis=0)[:, 5:])
        return np.concatenate(columns, axis=1)

    def _probe(self) -> int:
        """Run once on a grey picture: D, and an early word if outputs and description differ."""
        height, width = self._description.recipe.size
        grey = np.full((1, 3, height, width), 114, dtype=np.float32)
        try:
            arrays = self._session.run(grey)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise DataError(
                f"{self._session.path} cannot run on one picture of {height}x{width}: {error}",
                "correct `size` in its description",
            ) from error
        onnx_outputs.read(arrays[: self._outputs], self._description)
        for name, array in zip(self._description.features, arrays[self._outputs :], strict=False):
            if array.ndim != 4 or len(array) != 1:
                raise DataError(
                    f"the tensor '{name}' of {self._session.path} has the shape {array.shape}, "
                    "which is no feature map (1, D, rows, columns)",
                    "name another in `features` of its description",
                )
        whole = np.array([[0, 0, width, height]], dtype=np.float32)
        features = self._pool(arrays[: self._outputs], arrays[self._outputs :], whole)
        return int(features.shape[1])
