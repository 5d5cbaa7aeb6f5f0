"""Torchvision's detectors, built again for a picture that comes later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model, get_model_weights

from weaksup.detectors.build import DetectorOptions, build_detector
from weaksup.detectors.known_files import KnownFiles
from weaksup.detectors.rebuild import rebuild
from weaksup.detectors.torchvision_weights import find_origin
from weaksup.errors import DataError, MissingDependencyError
from weaksup.types import Provenance

MODEL = "fasterrcnn_mobilenet_v3_large_320_fpn"
LABELS = ("ball", "N/A", "tree")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = get_model(MODEL, weights=None, weights_backbone=None, num_classes=len(LABELS) + 1)
    path = tmp_path_factory.mktemp("torchvision") / "mine-320.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def detector(weights):
    options = DetectorOptions(
        weights=str(weights), labels=LABELS, min_regions=4, max_regions=6, device="cpu"
    )
    return build_detector("torchvision", options)


def test_a_file_with_names_of_ones_own(detector, weights, as_stored, assert_same_sight, tmp_path):
    provenance = as_stored(detector)
    assert provenance.settings["labels"] == list(LABELS)
    assert_same_sight(detector, rebuild(provenance, files=[weights]).detector)
    # Elsewhere and under another name; the store, and what is compared with it, keep the first.
    (tmp_path / "other-320.safetensors").write_bytes(weights.read_bytes())
    assert_same_sight(detector, rebuild(provenance, files=[tmp_path]).detector)


def test_the_background_is_no_name_of_the_users(detector, weights):
    options = DetectorOptions(weights=str(weights), device="cpu", min_regions=4, max_regions=6)
    with_background = replace(options, labels=("background", *LABELS))
    assert build_detector("torchvision", with_background).provenance == detector.provenance


def test_what_is_missing_is_named(detector, as_stored, tmp_path):
    provenance = as_stored(detector)
    (tmp_path / "names.txt").write_text("ball\n")
    with pytest.raises(MissingDependencyError, match="without the weights of the dete") as missing:
        rebuild(provenance, files=[tmp_path, tmp_path / "gone.pth"])
    said = f"torchvision:mine-320 (SHA-256 {provenance.weights_sha256[:12]}...), not found"
    assert said in missing.value.message
    assert "names.txt" in missing.value.message
    assert "--models" in missing.value.hint


def test_a_store_that_does_not_know_the_names(detector, weights, as_stored):
    provenance = as_stored(detector)
    settings = {key: value for key, value in provenance.settings.items() if key != "labels"}
    with pytest.raises(DataError, match="does not name its 3 classes") as caught:
        rebuild(replace(provenance, settings=settings), files=[weights])
    assert "--labels" not in str(caught.value)


def test_a_published_model_is_built_by_its_name(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    provenance = Provenance(f"torchvision:{MODEL}", "0" * 64, {})
    assert find_origin(provenance, KnownFiles([])).weights == MODEL
    # A file of one's own may be called as the published model is.
    own = replace(provenance, settings={"labels": list(LABELS)})
    with pytest.raises(MissingDependencyError, match="without the weights of the detector"):
        find_origin(own, KnownFiles([]))
    settings = {"score_threshold": 0.2, "min_regions": 1, "max_regions": 2}
    with pytest.raises(MissingDependencyError, match="cannot be fetched") as caught:
        rebuild(replace(provenance, settings=settings), files=[])
    assert Path(get_model_weights(MODEL).DEFAULT.url).name in caught.value.hint


def test_a_detector_of_ones_own_kind():
    with pytest.raises(DataError, match="made by 'grid', which weaksup cannot build"):
        rebuild(Provenance("grid", "", {"bins": 3}), files=[])
