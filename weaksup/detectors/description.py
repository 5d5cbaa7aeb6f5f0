"""What an ONNX file does not say of itself: how to feed it and how to read what it gives.

A description is a small TOML file beside the model, ``model.toml`` for ``model.onnx``. That of a
detector::

    layout = "boxes"             # yolox, yolo, yolov8 or boxes: see onnx_outputs.py
    labels = "coco"              # or a list of names, or a file with one name a line
    size = [640, 640]            # height and width; needed only if the file leaves them open
    channels = "rgb"             # or "bgr"
    scale = 0.00392156862745098  # pixels are 0..255: (pixel * scale - mean) / std
    mean = [0.0, 0.0, 0.0]
    std = [1.0, 1.0, 1.0]
    resize = "letterbox"         # keep proportions, pad right and below; or "stretch"
    pad = 114
    nms_threshold = 0.5          # 1 for a detector that does without
    features = ["inner.1"]       # tensors (1, D, rows, columns) to pool region features from

    [outputs]                    # only for layout = "boxes"
    boxes = "boxes"              # (1, K, 4) or (K, 4)
    scores = "scores"            # (1, K), (K,) or, with one column a label, (1, K, C), (K, C)
    labels = "labels"            # (1, K) or (K,); left out if `scores` has a column a label
    first_label = 0              # the number of the first label; 1 where 0 means background
    box_format = "xyxy"          # or "cxcywh"
    box_unit = "pixels"          # of the network's input; or "fractions" of it

That of a feature network (``--feature-model``) has ``channels``, ``scale``, ``mean``, ``std``,
``resize``, ``pad``, ``output`` (the tensor that is the feature map) and ``classes`` (the tensor
with a column a class, for ``--feature-labels``); without one, the network reads RGB 0..255, its
first output of four dimensions is the feature map, and the classes are found by their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weaksup.detectors.labels import COCO, read_labels
from weaksup.detectors.preprocess import BGR, LETTERBOX, RGB, STRETCH, Recipe
from weaksup.detectors.toml_table import (
    FRACTION,
    GREY,
    LABELS,
    NAMES,
    NUMBER,
    SIZE,
    STD,
    TEXT,
    TRIPLE,
    WHOLE,
    Table,
    one_of,
)

YOLOX, YOLO, YOLOV8, BOXES = "yolox", "yolo", "yolov8", "boxes"
LAYOUTS = (YOLOX, YOLO, YOLOV8, BOXES)


@dataclass(frozen=True)
class BoxOutputs:
    """Names and conventions of the outputs of a detector with ``layout = "boxes"``."""

    boxes: str = "boxes"
    scores: str = "scores"
    labels: str | None = None
    first_label: int = 0
    box_format: str = "xyxy"
    box_unit: str = "pixels"


@dataclass(frozen=True)
class DetectorDescription:
    """How to feed an ONNX detector and how to read what it gives.

    Attributes:
        layout: of the outputs; one of ``LAYOUTS``.
        labels: object names, in the order of the network's classes.
        recipe: what the network reads.
        nms_threshold: of the class-wise non-maximum suppression.
        features: inner tensors (1, D, rows, columns) to pool region features from.
        class_score_features: pool the class scores of every level as well (``yolox`` only).
        outputs: for ``layout = "boxes"``.
    """

    layout: str
    labels: tuple[str, ...]
    recipe: Recipe
    nms_threshold: float = 0.5
    features: tuple[str, ...] = ()
    class_score_features: bool = False
    outputs: BoxOutputs = BoxOutputs()


@dataclass(frozen=True)
class FeatureDescription:
    """How to feed a feature network; None means its first map, and classes found by number."""

    recipe: Recipe
    output: str | None = None
    classes: str | None = None


def description_path(model: Path) -> Path:
    """Where the description of ``model`` is looked for."""
    return model.with_suffix(".toml")


def read_detector_description(
    path: Path, *, declared_size: tuple[int, int] | None, labels: Sequence[str] | None
) -> DetectorDescription:
    """Read the description of a detector.

    Args:
        path: the TOML file.
        declared_size: height and width of the input, if the model fixes them.
        labels: names to have in place of the description's.

    Raises:
        UsageError: naming every unknown, missing and wrong key at once.
        DataError: if the file is no TOML, or its file of labels is damaged.
    """
    table = Table.read(path)
    layout = table.take("layout", one_of(LAYOUTS))
    names = table.take("labels", LABELS, default=None)
    recipe = _recipe(table, declared_size=declared_size, default_resize=LETTERBOX)
    threshold = table.take("nms_threshold", FRACTION, default=0.5)
    features = table.take("features", NAMES, default=[])
    outputs = _box_outputs(table) if layout == BOXES else BoxOutputs()
    if labels is None and names is None:
        table.problems.append('`labels` is missing: a list, a file, or "coco" (or give --labels)')
    table.finish()
    if labels is None:
        labels = _labels(names, beside=path)
    return DetectorDescription(
        layout=layout,
        labels=tuple(labels),
        recipe=recipe,
        nms_threshold=float(threshold),
        features=tuple(features),
        outputs=outputs,
    )


def read_feature_description(
    path: Path, *, declared_size: tuple[int, int] | None, size: int
) -> FeatureDescription:
    """Read the description of a feature network.

    Args:
        path: the TOML file; without one, the network reads RGB 0..255, stretched.
        declared_size: height and width of the input, if the model fixes them.
        size: height and width that the user wants of a model that leaves them open.

    Raises:
        UsageError: naming every unknown and wrong key at once.
        DataError: if the file is no TOML.
    """
    size_to_use = declared_size or (size, size)
    if not path.is_file():
        return FeatureDescription(Recipe(size=size_to_use))
    table = Table.read(path)
    recipe = _recipe(table, declared_size=size_to_use, default_resize=STRETCH)
    output = table.take("output", TEXT, default=None)
    classes = table.take("classes", TEXT, default=None)
    table.finish()
    return FeatureDescription(recipe, output, classes)


def _recipe(table: Table, *, declared_size: tuple[int, int] | None, default_resize: str) -> Recipe:
    size = table.take("size", SIZE, default=list(declared_size) if declared_size else None)
    if size is None:
        table.problems.append("`size` is missing: the model leaves its input size open")
        size = [32, 32]
    elif declared_size is not None and tuple(size) != declared_size:
        table.problems.append(f"`size` is {size}, but the input is {list(declared_size)}")
    return Recipe(
        size=(size[0], size[1]),
        channels=table.take("channels", one_of((RGB, BGR)), default=RGB),
        scale=float(table.take("scale", NUMBER, default=1.0)),
        mean=_triple(table.take("mean", TRIPLE, default=[0.0, 0.0, 0.0])),
        std=_triple(table.take("std", STD, default=[1.0, 1.0, 1.0])),
        resize=table.take("resize", one_of((STRETCH, LETTERBOX)), default=default_resize),
        pad=table.take("pad", GREY, default=114),
    )


def _box_outputs(table: Table) -> BoxOutputs:
    inner = table.inner("outputs")
    outputs = BoxOutputs(
        boxes=inner.take("boxes", TEXT),
        scores=inner.take("scores", TEXT),
        labels=inner.take("labels", TEXT, default=None),
        first_label=inner.take("first_label", WHOLE, default=0),
        box_format=inner.take("box_format", one_of(("xyxy", "cxcywh")), default="xyxy"),
        box_unit=inner.take("box_unit", one_of(("pixels", "fractions")), default="pixels"),
    )
    inner.close()
    return outputs


def _labels(names: str | list[str], *, beside: Path) -> tuple[str, ...]:
    if names == "coco":
        return COCO
    return read_labels(beside.parent / names) if isinstance(names, str) else tuple(names)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
