"""Statistics of region features over training images, in one pass, constant memory and time.

Letters: N images, D feature width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainer.data import STATISTICS, read_regions
from weaksup.store import RegionStore, not_finite
from weaksup.types import Int64

CHUNK = 256
# Images, at most. A mean over the regions of so many is off by a hundredth of a deviation even
# where all regions of an image are alike, and reading all of COCO takes minutes.
SAMPLE = 16_384


def feature_statistics(
    store: RegionStore, rows: Int64, *, max_regions: int
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature channel over all regions of some images.

    Of more than ``SAMPLE`` images, so many are drawn, the same ones at every call.

    Args:
        store: open region store.
        rows: (N,) int64, training images and no others: a statistic leaks too.
        max_regions: the most confident regions that are read.

    Returns:
        (D,) mean and (D,) standard deviation, float32.

    Raises:
        DataError: if a feature that is read is not finite.
    """
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(STATISTICS).permutation(rows)[:SAMPLE])
    count = 0
    total = torch.zeros(store.feature_size, dtype=torch.float64)
    squares = torch.zeros_like(total)
    for start in range(0, len(rows), CHUNK):
        regions = read_regions(store, rows[start : start + CHUNK], max_regions=max_regions)
        used = regions.features[regions.mask].double()
        count += len(used)
        total += used.sum(0)
        squares += used.square().sum(0)
    mean = total / max(count, 1)
    variance = (squares / max(count, 1) - mean.square()).clamp_min(0)
    if not torch.isfinite(variance).all():
        raise not_finite(store)
    return mean.float(), variance.sqrt().float()
