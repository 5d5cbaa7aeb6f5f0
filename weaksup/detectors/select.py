"""Which candidate boxes become regions: class-wise NMS, a score threshold, a number of regions.

Letters: K candidates, M regions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import nms

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
    boxes: Float32, scores: Float32, labels: Int32, *, threshold: float, enough: int
) -> Int64:
    """Greedy non-maximum suppression within each label.

    Args:
        boxes: (K, 4) float32, x1 y1 x2 y2.
        scores: (K,) float32.
        labels: (K,) int32.
        threshold: a box goes if its intersection over union with a better box of its label is
            higher than this.
        enough: so many boxes at most: the best of all that suppression leaves.

    Returns:
        (M,) int64 rows of ``boxes``, by falling score, equal scores in their given order.
    """
    if not len(boxes):
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(-scores, kind="stable")
    # Boxes of different labels are moved apart, in float64 so that none changes its shape.
    apart = boxes.astype(np.float64)
    apart += ((apart.max() - apart.min() + 1) * labels)[:, None]
    # A box falls only to better ones: those of the best candidates that stay, stay for good, and
    # most often are enough. Suppression takes time by the square of the candidates' number.
    count = 4 * enough
    while True:
        best = order[:count]
        kept = nms(torch.from_numpy(apart[best]), _falling(len(best)), threshold)
        if len(kept) >= enough or count >= len(order):
            result: Int64 = best[kept.numpy()[:enough]]
            return result
        count *= 4


def _falling(count: int) -> torch.Tensor:
    """(count,) float64 scores of boxes that are sorted already."""
    return -torch.arange(count, dtype=torch.float64)


def clip_boxes(boxes: Float32, *, size: tuple[int, int]) -> Float32:
    """Boxes (M, 4) clipped to a picture of ``size`` (height, width) in pixels."""
    height, width = size
    result: Float32 = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    return result
