"""Descriptions that need no file: models that are recognised by their outputs."""

from __future__ import annotations

from collections.abc import Sequence

from weaksup.detectors.description import (
    YOLO,
    YOLOX,
    DetectorDescription,
    description_path,
    read_detector_description,
)
from weaksup.detectors.labels import COCO
from weaksup.detectors.onnx_outputs import YOLOX_STRIDES
from weaksup.detectors.onnx_session import OnnxFile
from weaksup.detectors.preprocess import BGR, LETTERBOX, Recipe
from weaksup.errors import UsageError
from weaksup.wording import counted

# The pyramid that the heads read and the last stage of the backbone, in the released YOLOX-Nano.
YOLOX_NANO_FEATURES = ("input.471", "input.531", "input.591", "input.359")


def describe(file: OnnxFile, *, labels: Sequence[str] | None = None) -> DetectorDescription:
    """The description beside an ONNX detector, or the preset that fits it.

    Args:
        file: the detector.
        labels: object names that the user gave.

    Raises:
        UsageError: if there is neither.
    """
    beside = description_path(file.path)
    if beside.is_file():
        return read_detector_description(beside, declared_size=file.input_size, labels=labels)
    preset = _yolox(file, labels)
    if preset is None:
        shapes = ", ".join(f"{output.name} {output.shape}" for output in file.outputs)
        raise UsageError(
            f"{file.path} is no model that weaksup recognises (its outputs: {shapes})",
            f"describe it in {beside}: input, layout of the outputs, labels; "
            "`python -m pydoc weaksup.detectors.description` shows every key",
        )
    return preset


def _yolox(file: OnnxFile, labels: Sequence[str] | None) -> DetectorDescription | None:
    """YOLOX by the number of its rows: one for every cell of three strides.

    Raises:
        UsageError: if it has another number of classes than there are labels.
    """
    size = file.input_size
    if size is None or len(file.outputs) != 1 or len(file.outputs[0].shape) != 3:
        return None
    _, rows, columns = file.outputs[0].shape
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in YOLOX_STRIDES)
    if rows != cells or columns is None or columns < 6:
        return None
    names = tuple(labels) if labels is not None else COCO
    if columns != 5 + len(names):
        raise UsageError(
            f"{file.path} is a YOLOX with {counted(columns - 5, 'class', 'classes')}, "
            f"not {len(names)}",
            "name them with --labels FILE, one a line in the network's order",
        )
    # An export with `--decode_in_inference` has the same shape, and ends in the exponential of
    # the sides.
    decoded = file.has_operator("Exp")
    known = all(file.has_tensor(name) for name in YOLOX_NANO_FEATURES)
    return DetectorDescription(
        layout=YOLO if decoded else YOLOX,
        labels=names,
        recipe=Recipe(size=size, channels=BGR, resize=LETTERBOX),
        features=YOLOX_NANO_FEATURES if known else (),
        class_score_features=known and not decoded,
    )
