"""Which candidate boxes become regions: class-wise NMS, a score threshold, a number of regions.

Letters: K candidates, M regions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weaksup.types import Float32, Int32

Int64 = npt.NDArray[np.int64]


def select_regions(
    scores: Float32, *, score_threshold: float, min_regions: int, max_regions: int
) -> Int64:
    """Choose regions as bottom-up attention does (Anderson et al., CVPR 2018).

    Every candidate that scores at least ``score_threshold``; the best of the others as well while
    there are fewer than ``min_regions``; the best ``max_regions`` when there are more. The whole
    image, which is not among the candidates, counts as a region.

    Args:
        scores: (K,) float32, candidates after non-maximum suppression, in any order.
        score_threshold: in [0, 1].
        min_regions: at least 1.
        max_regions: at least ``min_regions``.

    Returns:
        (M,) int64 rows of ``scores``, by falling score, equal scores in their given order.
    """
    order = np.argsort(-scores, kind="stable")
    wanted = int(np.count_nonzero(scores >= score_threshold))
    return order[: min(max(wanted, min_regions - 1), max_regions - 1)]


def class_wise_nms(
    boxes: Float32, scores: Float32, labels: Int32, *, threshold: float, enough: int | None = None
) -> Int64:
    """Greedy non-maximum suppression within each label.

    Args:
        boxes: (K, 4) float32, x1 y1 x2 y2.
        scores: (K,) float32.
        labels: (K,) int32.
        threshold: a box goes if its intersection over union with a better box of its label is
            higher than this.
        enough: stop after so many boxes; they are the same as without it.

    Returns:
        (M,) int64 rows of ``boxes``, by falling score, equal scores in their given order.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, labels = boxes[order], labels[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(boxes), dtype=bool)
    kept: list[int] = []
    for row in range(len(boxes)):
        if not alive[row]:
            continue
        kept.append(row)
        if len(kept) == enough:
            break
        rivals = row + 1 + np.flatnonzero(labels[row + 1 :] == labels[row])
        if len(rivals) == 0:
            continue
        overlap = _intersection(boxes[row], boxes[rivals])
        # A product in place of a quotient: two empty boxes do not divide by zero.
        union = areas[row] + areas[rivals] - overlap
        alive[rivals[overlap > threshold * union]] = False
    return order[np.array(kept, dtype=np.int64)]


def _intersection(box: Float32, others: Float32) -> Float32:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    result: Float32 = np.maximum(sides, 0).prod(axis=1)
    return result


def clip_boxes(boxes: Float32, *, size: tuple[int, int]) -> Float32:
    """Boxes (M, 4) clipped to a picture of ``size`` (height, width) in pixels."""
    height, width = size
    result: Float32 = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    return result
