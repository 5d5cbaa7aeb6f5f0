"""Average precision of boxes at an intersection over union of 0.5.

Letters: M boxes found in one image, G boxes that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weaksup.types import Float32

Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Boxes:
    """What was found, or what is there, in one image.

    Attributes:
        boxes: (M, 4) float32, x1 y1 x2 y2.
        labels: (M,) integers.
        scores: (M,) float32; of no meaning for what is there.
    """

    boxes: Float32
    labels: Labels
    scores: Float32


def intersection_over_union(first: Float32, second: Float32) -> Float32:
    """Every pair of boxes: (M, 4) and (G, 4) to (M, G) float32."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inside = np.maximum(high - low, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    result: Float32 = inside / np.maximum(areas[0][:, None] + areas[1][None, :] - inside, 1e-9)
    return result


def average_precision(
    found: Sequence[Boxes], true: Sequence[Boxes], *, label: int, threshold: float = 0.5
) -> float:
    """The area under the precision-recall curve of one label, in [0, 1].

    A found box is right if the true box of its label and image that it overlaps most overlaps it
    by ``threshold`` or more and no better-scored box has taken it (PASCAL VOC; the area is exact,
    as since 2010, not that of eleven points).

    Returns:
        NaN if no image has the label.
    """
    hits: list[tuple[float, bool]] = []
    total = 0
    for seen, real in zip(found, true, strict=True):
        targets = real.boxes[real.labels == label]
        total += len(targets)
        mine = seen.labels == label
        order = np.argsort(-seen.scores[mine], kind="stable")
        overlaps = intersection_over_union(seen.boxes[mine][order], targets)
        taken: set[int] = set()
        for score, row in zip(seen.scores[mine][order], overlaps, strict=True):
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and row[best] >= threshold and best not in taken
            if hit:
                taken.add(best)
            hits.append((float(score), hit))
    if total == 0:
        return float("nan")
    right = np.array([hit for _, hit in sorted(hits, key=lambda pair: -pair[0])], dtype=bool)
    recall = np.cumsum(right) / total
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    # The best precision at this recall or a higher one.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def mean_average_precision(
    found: Sequence[Boxes], true: Sequence[Boxes], *, labels: int, threshold: float = 0.5
) -> float:
    """The mean over the labels 0 to ``labels`` - 1 that occur, in [0, 1]."""
    each = [
        average_precision(found, true, label=label, threshold=threshold) for label in range(labels)
    ]
    return float(np.nanmean(each))
