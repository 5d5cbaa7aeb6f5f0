"""Torchvision backbones: their maps with random weights, and the way without a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models import get_model, get_model_weights

from weaksup.detectors import torchvision_features
from weaksup.detectors.torchvision_features import TorchvisionFeatureModel, backbone, names
from weaksup.errors import DataError, MissingDependencyError, UsageError
from weaksup.types import Image


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("resnet18", 512),
        ("mobilenet_v3_small", 576),
        ("shufflenet_v2_x0_5", 1024),
        ("mnasnet0_5", 1280),
        ("regnet_y_400mf", 440),
        ("swin_t", 768),
        ("squeeze", None),
    ],
)
def test_the_backbones_of_the_families_give_maps(name, depth):
    if depth is None:
        assert name not in names()
        return
    with torch.inference_mode():
        maps = backbone(get_model(name, weights=None).eval())(torch.zeros(2, 3, 64, 96))
    assert maps.shape == (2, depth, 2, 3)


def test_an_unknown_name_lists_what_exists():
    with pytest.raises(UsageError, match="did you mean 'resnet50'") as caught:
        TorchvisionFeatureModel("resnet51")
    assert "mobilenet_v3_small" in caught.value.hint


@pytest.fixture
def cache(tmp_path, monkeypatch, no_network):
    """An empty cache of weights, and no way to the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_missing_weights_name_the_url_and_the_place(cache):
    with pytest.raises(MissingDependencyError) as caught:
        TorchvisionFeatureModel("resnet18")
    assert "https://download.pytorch.org/models/resnet18-" in caught.value.hint
    assert str(cache) in caught.value.hint


def test_damaged_weights_are_refused(cache):
    url = get_model_weights("resnet18").DEFAULT.url
    (cache / url.rsplit("/", 1)[1]).write_bytes(b"not weights")
    with pytest.raises(DataError, match="damaged"):
        TorchvisionFeatureModel("resnet18")


def test_pooling_with_weights_on_disk(tmp_path, monkeypatch):
    """The published file is too large to keep: one of random weights takes its place."""
    path = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(get_model("resnet18", weights=None).state_dict(), path)
    monkeypatch.setattr(torchvision_features, "fetch_published", lambda url: (path, "0" * 64))
    model = TorchvisionFeatureModel("resnet18", size=64, device="cpu")
    assert model.feature_size == 512
    assert model.provenance.detector == "torchvision:resnet18"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
    pictures = [Image(id=str(at), pixels=pixels[at], size=(50, 70)) for at in range(2)]
    boxes = [np.array([[0, 0, 70, 50]], np.float32), np.array([[0, 0, 9, 9]] * 3, np.float32)]
    got = model.pool(pictures, boxes)
    assert [rows.features.shape for rows in got] == [(1, 512), (3, 512)]
    assert [rows.classes.shape for rows in got] == [(1, 0), (3, 0)]
    assert np.isfinite(got[0].features).all()
    assert model.pool([], []) == []
