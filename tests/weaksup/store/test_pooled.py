from __future__ import annotations

import h5py
import numpy as np
import pytest

from weaksup.errors import DataError
from weaksup.store import StoreItem, open_store, pool_features, write_store
from weaksup.store import pooled as module
from weaksup.types import STATUS_OK, STATUS_UNREADABLE, Provenance, Regions


def make(path, features):
    """A store of images with (M, D) features each, or None for an unreadable one."""
    items = []
    for each in features:
        if each is None:
            items.append(StoreItem((0, 0), STATUS_UNREADABLE, None, "truncated"))
            continue
        count = len(each)
        regions = Regions(
            boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1)),
            features=each,
            scores=np.linspace(1, 0.5, count, dtype=np.float32),
            objects=np.full(count, -1, np.int32),
            attributes=np.zeros((count, 0), np.int32),
        )
        items.append(StoreItem((4, 4), STATUS_OK, regions))
    size = next(each.shape[1] for each in features if each is not None)
    return open_store(
        write_store(
            path,
            items,
            ids=[f"{number}.jpg" for number in range(len(features))],
            feature_size=size,
            attribute_slots=0,
            objects=[],
            attributes=[],
            provenance=Provenance("test", "0" * 64, {}),
        )
    )


def test_the_mean_of_roots(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(1 + n % 4, 5)).astype(np.float32) for n in range(8)]
    features[2] = None
    store = make(tmp_path / "regions.h5", features)
    wanted = [7, 0, 2, 5, 0]
    found = pool_features(store, [f"{number}.jpg" for number in wanted])
    assert (found.shape, found.dtype) == ((5, 5), np.float32)
    for row, number in zip(found, wanted, strict=True):
        own = features[number]
        roots = np.zeros((1, 5)) if own is None else np.sign(own) * np.sqrt(np.abs(own))
        np.testing.assert_allclose(row, roots.mean(axis=0), atol=2e-3)
    assert pool_features(store, []).shape == (0, 5)


def test_what_is_wrong(tmp_path):
    store = make(tmp_path / "a.h5", [np.ones((1, 2), np.float32)])
    with pytest.raises(DataError, match=r"has no image b\.jpg"):
        pool_features(store, ["b.jpg"])
    with h5py.File(store.path, "r+") as file:
        file["region/feature"][0, 1] = np.nan
    with pytest.raises(DataError, match="not finite: it is damaged"):
        pool_features(open_store(store.path), ["0.jpg"])
