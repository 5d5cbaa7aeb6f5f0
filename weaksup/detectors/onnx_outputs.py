"""Reading the outputs of ONNX detectors, one function a layout.

Letters: K candidates, C classes, h and w the network's input in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from weaksup.detectors.description import BOXES, YOLO, YOLOV8, DetectorDescription
from weaksup.errors import DataError
from weaksup.types import Float32, Int32
from weaksup.wording import counted

YOLOX_STRIDES = (8, 16, 32)
# Candidates below this are noise even where `min_regions` asks for more boxes.
CANDIDATE_SCORE = 0.001


@dataclass(frozen=True)
class Candidates:
    """Boxes before non-maximum suppression.

    Attributes:
        boxes: (K, 4) float32, x1 y1 x2 y2 in pixels of the network's input.
        scores: (K,) float32 in [0, 1], of the best class.
        labels: (K,) int32, the best class.
    """

    boxes: Float32
    scores: Float32
    labels: Int32


def output_names(description: DetectorDescription, declared: Sequence[str]) -> list[str]:
    """The outputs that a layout reads, in the order in which ``read`` wants them."""
    if description.layout != BOXES:
        return [declared[0]]
    outputs = description.outputs
    return [outputs.boxes, outputs.scores, *([outputs.labels] if outputs.labels else [])]


def read(outputs: Sequence[Float32], description: DetectorDescription) -> Candidates:
    """Candidates that score at least ``CANDIDATE_SCORE``.

    Args:
        outputs: the arrays of ``output_names``.
        description: of the detector.

    Raises:
        DataError: if a shape is not that of the layout.
    """
    if description.layout == BOXES:
        return _read_boxes(outputs, description)
    rows = outputs[0][0] if outputs[0].ndim == 3 else outputs[0]
    if description.layout == YOLOV8:
        rows = rows.T
    classes = len(description.labels)
    expected = classes + (4 if description.layout == YOLOV8 else 5)
    if rows.ndim != 2 or rows.shape[1] != expected:
        raise DataError(
            f"the detector's output has the shape {outputs[0].shape}, but layout "
            f"'{description.layout}' with {counted(classes, 'label')} has {expected} numbers a box",
            "correct `layout` or `labels` in its description, or give --labels FILE",
        )
    if description.layout == YOLOV8:
        return _dense(rows[:, :4], rows[:, 4:], None)
    boxes, objectness, scores = rows[:, :4], rows[:, 4], rows[:, 5:]
    if description.layout == YOLO:
        return _dense(boxes, scores, objectness)
    return _dense(boxes, scores, objectness, grid=yolox_grid(description.recipe.size))


def _dense(
    boxes: Float32,
    scores: Float32,
    objectness: Float32 | None,
    *,
    grid: tuple[Float32, Float32] | None = None,
) -> Candidates:
    """Candidates of a detector that says something about every cell.

    Args:
        boxes: (K, 4) centre x, centre y, width, height; raw if there is a grid.
        scores: (K, C) class scores.
        objectness: (K,) factor of the class scores.
        grid: cells and strides to decode raw boxes with.
    """
    if objectness is not None:
        # Most cells hold nothing: what their classes are need not be looked at.
        rows = np.flatnonzero(objectness >= CANDIDATE_SCORE)
        labels = scores[rows].argmax(axis=1)
        best = scores[rows, labels] * objectness[rows]
    else:
        rows = np.arange(len(scores))
        labels = scores.argmax(axis=1)
        best = scores[rows, labels]
    good = best >= CANDIDATE_SCORE
    rows, labels, best = rows[good], labels[good], best[good]
    centre, side = boxes[rows, :2], boxes[rows, 2:]
    if grid is not None:
        cells, strides = grid
        centre = (centre + cells[rows]) * strides[rows]
        # exp(20) pixels is beyond any picture: the bound keeps a wild number from overflowing.
        side = np.exp(np.minimum(side, 20)) * strides[rows]
    corners = np.concatenate([centre - side / 2, centre + side / 2], axis=1)
    return Candidates(corners.astype(np.float32), best.astype(np.float32), labels.astype(np.int32))


@lru_cache(maxsize=8)
def yolox_grid(size: tuple[int, int]) -> tuple[Float32, Float32]:
    """Cells (K, 2), x before y, and strides (K, 1) of YOLOX's rows for one input size.

    Source: Ge et al., "YOLOX", arXiv 2107.08430, and its released ONNX files: the levels one
    after the other, each row by row.
    """
    cells, strides = [], []
    for stride in YOLOX_STRIDES:
        height, width = size[0] // stride, size[1] // stride
        y, x = np.mgrid[:height, :width].astype(np.float32)
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((height * width, 1), stride, dtype=np.float32))
    return np.concatenate(cells), np.concatenate(strides)


def yolox_class_grids(output: Float32, *, size: tuple[int, int]) -> list[Float32]:
    """Every level's output as a grid (rows, columns, 5 + C), finest first: views, no copies.

    The class scores are ``grid[:, :, 5:]``.
    """
    grids, start = [], 0
    for stride in YOLOX_STRIDES:
        height, width = size[0] // stride, size[1] // stride
        stop = start + height * width
        grids.append(output[0, start:stop].reshape(height, width, -1))
        start = stop
    return grids


def _read_boxes(outputs: Sequence[Float32], description: DetectorDescription) -> Candidates:
    names = description.outputs
    boxes, scores = (_without_batch(array, 2) for array in outputs[:2])
    if names.labels is None:
        scores = scores.reshape(len(boxes), -1)
        labels = scores.argmax(axis=1)
        scores = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    else:
        scores = scores.reshape(-1)
        labels = outputs[2].reshape(-1)
    if boxes.shape[1:] != (4,) or not len(boxes) == len(scores) == len(labels):
        shapes = ", ".join(str(array.shape) for array in outputs)
        raise DataError(
            f"the detector's outputs have the shapes {shapes}, which are not boxes, scores "
            "and labels of the same number of boxes",
            "correct [outputs] in its description",
        )
    labels = np.asarray(labels).astype(np.int32) - names.first_label
    known = (labels >= 0) & (labels < len(description.labels))
    good = known & (scores >= CANDIDATE_SCORE)
    boxes, scores, labels = boxes[good].astype(np.float32), scores[good], labels[good]
    if names.box_format == "cxcywh":
        centre, side = boxes[:, :2], boxes[:, 2:]
        boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=1)
    if names.box_unit == "fractions":
        height, width = description.recipe.size
        boxes = boxes * np.array([width, height, width, height], dtype=np.float32)
    return Candidates(boxes, scores.astype(np.float32), labels)


def _without_batch(array: Float32, dimensions: int) -> Float32:
    """Drop the leading batch axis, if the array has one more than ``dimensions``."""
    return array[0] if array.ndim > dimensions else array
