"""One vector an image: the mean of its region features.

Letters: N images, D feature width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weaksup.errors import DataError
from weaksup.store.reader import RegionStore
from weaksup.types import Float32

# Images whose regions are in memory at once: 24 MB with 36 regions of 1,280 features.
CHUNK = 256


def pool_features(store: RegionStore, ids: Sequence[str]) -> Float32:
    """The mean over an image's regions of the signed square roots of their features.

    The roots keep the few large values that networks with rectified units give from drowning the
    others. Only a chunk of images has its regions in memory; the result takes 4 N D bytes.

    Args:
        store: read with its features.
        ids: N images.

    Returns:
        (N, D) float32; zeros for an image without regions.

    Raises:
        DataError: if the store lacks an image or has no features, or one is not finite.
    """
    if not store.feature_size:
        raise DataError(
            f"the store {store.path} holds no region features",
            "make one that does with `weaksup extract`",
        )
    rows = [store.index(name) for name in ids]
    pooled = np.zeros((len(rows), store.feature_size), np.float32)
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        batch = store.gather(chunk)
        features = batch.features.astype(np.float32)
        # Padding is zero, and so is its root.
        roots = np.copysign(np.sqrt(np.abs(features)), features)
        pooled[start : start + len(chunk)] = roots.sum(axis=1)
        pooled[start : start + len(chunk)] /= np.maximum(batch.mask.sum(axis=1), 1)[:, None]
    if not np.isfinite(pooled).all():
        raise not_finite(store)
    return pooled


def not_finite(store: RegionStore) -> DataError:
    """The error of features that are no numbers, which the writer of stores refuses."""
    return DataError(
        f"{store.path} holds region features that are not finite: it is damaged",
        "extract or import it again with --overwrite",
    )
