"""Statistics of region features over training images, in one pass and constant memory.

Letters: N images, D feature width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.data import read_regions
from weaksup.errors import DataError
from weaksup.store import RegionStore
from weaksup.types import Int64

CHUNK = 256


def feature_statistics(
    store: RegionStore, rows: Int64, *, max_regions: int
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature channel over all regions of some images.

    Args:
        store: open region store.
        rows: (N,) int64, training images and no others: a statistic leaks too.
        max_regions: the most confident regions that are read.

    Returns:
        (D,) mean and (D,) standard deviation, float32.

    Raises:
        DataError: if a feature is not finite.
    """
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
        raise DataError(
            f"{store.path} holds region features that are not finite",
            "extract them again with --precision fp32",
        )
    return mean.float(), variance.sqrt().float()
