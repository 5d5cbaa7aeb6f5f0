from __future__ import annotations

from itertools import combinations

import h5py
import numpy as np
import pytest
import torch

from trainer import statistics
from trainer.statistics import feature_statistics
from weaksup.errors import DataError
from weaksup.store import open_store


@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_statistics_of_the_given_rows_alone(world, monkeypatch, chunk):
    monkeypatch.setattr(statistics, "CHUNK", chunk)
    store = world.store()
    rows = np.array([5, 2, 11, 0])
    features = np.concatenate([store.regions(row).features[:3] for row in rows]).astype(np.float64)
    features = np.sign(features) * np.abs(features) ** 0.5
    mean, deviation = feature_statistics(store, rows, max_regions=3)
    torch.testing.assert_close(mean, torch.from_numpy(features.mean(0)).float())
    torch.testing.assert_close(deviation, torch.from_numpy(features.std(0)).float())


def test_of_many_images_a_sample_is_read_always_the_same(world, monkeypatch):
    store, rows = world.store(), np.array([5, 2, 11, 0, 7, 8])
    whole = feature_statistics(store, rows, max_regions=3)
    monkeypatch.setattr(statistics, "SAMPLE", 4)
    found = feature_statistics(store, rows, max_regions=3)
    torch.testing.assert_close(found, feature_statistics(store, rows, max_regions=3))
    assert not torch.equal(found[0], whole[0])
    samples = [
        feature_statistics(store, np.array(four), max_regions=3)[0]
        for four in combinations(sorted(rows.tolist()), 4)
    ]
    assert sum(torch.allclose(found[0], mean) for mean in samples) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(world, value):
    # The writer refuses them, so that only another program or a defect can have put them there.
    path = world.store().path
    with h5py.File(path, "r+") as file:
        file["region/feature"][0] = value
    with pytest.raises(DataError, match="not finite: it is damaged"):
        feature_statistics(open_store(path), np.array([0]), max_regions=4)
