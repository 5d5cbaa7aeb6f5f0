from __future__ import annotations

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


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(world, value):
    # The writer refuses them, so that only another program or a defect can have put them there.
    path = world.store().path
    with h5py.File(path, "r+") as file:
        file["region/feature"][0] = value
    with pytest.raises(DataError, match="not finite"):
        feature_statistics(open_store(path), np.array([0]), max_regions=4)
