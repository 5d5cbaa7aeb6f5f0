"""Region features from a second network in an ONNX file (``--feature-model``).

Letters: N images, M regions of one image, D feature width, K class slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from weaksup.detectors import roi_align
from weaksup.detectors.base import PooledRegions
from weaksup.detectors.class_head import CLASS_SLOTS, ClassHead
from weaksup.detectors.description import description_path, read_feature_description
from weaksup.detectors.onnx_session import OnnxFile
from weaksup.detectors.preprocess import network_input, zoom
from weaksup.errors import DataError
from weaksup.files import sha256
from weaksup.types import Float32, Image, Provenance

FEATURE_SIZE = 448


class OnnxFeatureModel:
    """A feature network in an ONNX file.

    ``pool`` may be called from several threads at once. Without a description beside the file
    (see ``description.py``) the network reads RGB 0..255, stretched to its input.

    Args:
        path: the ONNX file.
        size: height and width of the input, in pixels, of a network that leaves them open.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels: names of the network's classes, one class a line; with them, every region gets the
            classes that the network's own head gives its feature (see ``class_head.py``).

    Raises:
        UsageError: for a missing file, a wrong description, or labels that fit no output.
        DataError: for a damaged file, or one that gives no feature map, or classes that cannot be
            told of a region.
        MissingDependencyError: if ONNX Runtime cannot use the device.
    """

    concurrent = True

    def __init__(
        self,
        path: Path,
        *,
        size: int = FEATURE_SIZE,
        device: str = "auto",
        labels: Path | None = None,
    ) -> None:
        file = OnnxFile(path)
        description = read_feature_description(
            description_path(path), declared_size=file.input_size, size=size
        )
        output = description.output or _first_map(file)
        self._recipe = description.recipe
        self._session = file.session(outputs=[output], device=device)
        grey = self._probe(output)
        self._feature_size = int(grey.shape[1])
        settings = {"output": output, "input": asdict(self._recipe), "bins": roi_align.BINS}
        self._head: ClassHead | None = None
        if labels is not None:
            self._head = ClassHead(
                file,
                features=output,
                classes=description.classes,
                labels=labels,
                example=grey.mean(axis=(2, 3)),
                device=device,
            )
            settings["classes"] = self._head.settings
        self._provenance = Provenance(
            detector=f"onnx:{path.stem}", weights_sha256=sha256(path), settings=settings
        )

    @property
    def feature_size(self) -> int:
        return self._feature_size

    @property
    def classes(self) -> Sequence[str]:
        return self._head.labels if self._head is not None else ()

    @property
    def class_slots(self) -> int:
        return CLASS_SLOTS if self._head is not None else 0

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    def pool(self, images: Sequence[Image], boxes: Sequence[Float32]) -> list[PooledRegions]:
        """Features and classes of each image; the images do not influence one another."""
        return [self._pool(image, rows) for image, rows in zip(images, boxes, strict=True)]

    def _pool(self, image: Image, boxes: Float32) -> PooledRegions:
        (features,) = self._session.run(network_input(image.pixels, self._recipe))
        size = (image.pixels.shape[0], image.pixels.shape[1])
        factors = np.array(zoom(self._recipe, size=size) * 2, dtype=np.float32)
        means = roi_align.average(features[0], boxes * factors, size=self._recipe.size)
        if self._head is None:
            return PooledRegions.without_classes(means)
        return PooledRegions(means, *self._head.best(means))

    def _probe(self, output: str) -> Float32:
        """The map (1, D, rows, columns) of a grey picture."""
        height, width = self._recipe.size
        try:
            (features,) = self._session.run(np.full((1, 3, height, width), 114, np.float32))
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise DataError(
                f"{self._session.path} cannot run on one picture of {height}x{width}: {error}",
                "give another --feature-size",
            ) from error
        if features.ndim != 4:
            raise DataError(
                f"the output '{output}' of {self._session.path} has the shape {features.shape}, "
                "which is no feature map (1, D, rows, columns)",
                f"name another tensor as `output` in {description_path(self._session.path)}",
            )
        return features


def _first_map(file: OnnxFile) -> str:
    for output in file.outputs:
        if len(output.shape) == 4:
            return output.name
    shapes = ", ".join(f"{output.name} {output.shape}" for output in file.outputs)
    raise DataError(
        f"{file.path} has no output that is a feature map (N, D, rows, columns): {shapes}",
        f"name an inner tensor as `output` in {description_path(file.path)}",
    )
