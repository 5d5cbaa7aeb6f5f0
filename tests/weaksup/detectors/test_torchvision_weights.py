"""Torchvision models by name and from files: what is recognised, and what is refused."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model, get_model_weights

from weaksup.detectors import torchvision_weights as weights
from weaksup.errors import DataError, MissingDependencyError, UsageError

SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"
NAMES = ("ball", "tree", "cup")


def untrained(name, classes):
    return get_model(name, weights=None, weights_backbone=None, num_classes=classes)


def shapes_of(name, classes=4):
    with torch.device("meta"):
        return untrained(name, classes).state_dict()


@pytest.fixture(scope="module")
def small_model():
    torch.manual_seed(0)
    return untrained(SMALL, len(NAMES) + 1)


@pytest.fixture
def cache(tmp_path, monkeypatch, no_network):
    """An empty cache of torch.hub, and no way out to the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("name", weights.MODELS)
def test_each_model_is_recognised_by_its_tensors(name):
    state = shapes_of(name)
    assert weights.recognise(state, path=Path(f"{name}.pth")) == name
    # Frozen normalisation layers, as in the published files, have no counters.
    frozen = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    assert weights.recognise(frozen, path=Path(f"{name}.pth")) == name


def test_a_missing_tensor_is_named():
    state = dict(shapes_of("fasterrcnn_resnet50_fpn"))
    del state["rpn.head.bbox_pred.bias"]
    with pytest.raises(DataError, match=r"resnet50_fpn, 1 tensors .* rpn\.head\.bbox_pred\.bias"):
        weights.recognise(state, path=Path("a.pth"))


def test_another_kind_of_network_is_refused():
    with pytest.raises(DataError, match="no Faster R-CNN of torchvision"):
        weights.recognise({"conv.weight": torch.zeros(1)}, path=Path("a.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_gives_the_same_tensors_back(tmp_path, small_model, suffix):
    path = tmp_path / f"mine-320{suffix}"
    if suffix == ".pth":
        torch.save({"model": small_model.state_dict(), "epoch": 3}, path)
    else:
        save_file(small_model.state_dict(), path)
    loaded = weights.model_from_file(path, labels=NAMES)
    assert loaded.labels == ("__background__", *NAMES)
    assert loaded.weights_sha256 == weights.sha256(path)
    for name, value in small_model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    assert loaded.model.transform.max_size == 640  # the 320 variant's


def test_a_detector_from_a_file_with_its_own_labels(tmp_path, small_model):
    path = tmp_path / "mine.safetensors"
    save_file(small_model.state_dict(), path)
    detector = weights.load_torchvision_detector(path, labels=NAMES, device="cpu")
    assert tuple(detector.objects) == NAMES
    assert detector.feature_size == 1024
    assert detector.provenance.detector == "torchvision:mine"

    with pytest.raises(UsageError, match="does not name its 3 classes"):
        weights.load_torchvision_detector(path)
    with pytest.raises(DataError, match=r"2 labels for .*, which has 3 classes"):
        weights.load_torchvision_detector(path, labels=NAMES[:2])
    with_background = weights.model_from_file(path, labels=("background", *NAMES))
    assert with_background.labels == ("background", *NAMES)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"bad{suffix}"
    for content in (b"", b"not weights at all", bytes(range(256))):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as weights"):
            weights.read_state(path)


def test_pickled_objects_are_not_opened(tmp_path):
    path = tmp_path / "args.pth"
    torch.save({"model": {}, "args": datetime.timezone.utc}, path)
    with pytest.raises(DataError, match=r"torch\.save\(model\.state_dict\(\), FILE\)"):
        weights.read_state(path)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="holds no state dict"):
        weights.read_state(path)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'fasterrcnn_resnet50_fpn'"):
        weights.load_torchvision_detector("fasterrcnn_resnet50_fnp")
    with pytest.raises(UsageError, match="which has its own"):
        weights.load_torchvision_detector(SMALL, labels=NAMES)


def test_weights_that_cannot_be_fetched_name_the_url_and_the_place(cache):
    with pytest.raises(MissingDependencyError) as caught:
        weights.model_by_name(SMALL)
    url = get_model_weights(SMALL).DEFAULT.url
    assert f"fetch {url}" in caught.value.hint
    assert str(cache / Path(url).name) in caught.value.hint
    # No half file that the next run would take for weights.
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_damaged_file_in_the_cache_is_named(cache):
    cache.mkdir(parents=True)
    path = cache / Path(get_model_weights(SMALL).DEFAULT.url).name
    path.write_bytes(b"half a download")
    with pytest.raises(DataError, match="is damaged"):
        weights.model_by_name(SMALL)
