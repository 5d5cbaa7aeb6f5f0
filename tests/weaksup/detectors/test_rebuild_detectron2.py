"""Detectron2's detectors, built again for a picture that comes later."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from weaksup.detectors.build import DetectorOptions, build_detector
from weaksup.detectors.known_files import KnownFiles
from weaksup.detectors.rebuild import rebuild
from weaksup.errors import MissingDependencyError
from weaksup.types import Provenance

with warnings.catch_warnings():
    # pytest shows the warnings of detectron2's own imports otherwise.
    warnings.simplefilter("ignore")
    pytest.importorskip(
        "detectron2.model_zoo",
        reason="detectron2 is not installed: it is optional and built from source",
        exc_type=ImportError,
    )

from weaksup.detectors.detectron2 import DEFAULT_MODEL
from weaksup.detectors.detectron2_origin import find_origin

ZOO = DEFAULT_MODEL.removesuffix(".yaml")
LABELS = ("ball", "background", "tree")
ATTRIBUTES = ("gray,grey", "wooden", "tall", "wet")
WITH_ATTRIBUTES = """
_BASE_: small.yaml
MODEL:
  ATTRIBUTE_ON: true
  ROI_HEADS: {NAME: AttributeStandardROIHeads}
  ROI_ATTRIBUTE_HEAD: {OBJ_EMBED_DIM: 8, FC_DIM: 16, NUM_CLASSES: 4}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, write_detectron2):
    """``small.yaml`` with ``weights.pth``, and ``genome.yaml`` with ``genome.pth``."""
    folder = write_detectron2(tmp_path_factory.mktemp("detectron2"), DEFAULT_MODEL)
    (folder / "genome.yaml").write_text(WITH_ATTRIBUTES)
    state = torch.load(folder / "weights.pth")["model"]
    generator = torch.Generator().manual_seed(0)
    width = state["roi_heads.box_predictor.cls_score.weight"].shape[1]
    for name, shape in {
        "obj_embed.weight": (4, 8),
        "fc.0.weight": (16, width + 8),
        "fc.0.bias": (16,),
        "attr_score.weight": (4, 16),
        "attr_score.bias": (4,),
    }.items():
        key = f"roi_heads.attribute_predictor.{name}"
        state[key] = torch.randn(shape, generator=generator)
    torch.save({"model": state}, folder / "genome.pth")
    return folder


def detector_of(weights, **options):
    options = {"labels": LABELS, "min_regions": 4, "max_regions": 6, "device": "cpu", **options}
    return build_detector("detectron2", DetectorOptions(weights=str(weights), **options))


def test_a_configuration_with_weights_and_attributes(files, as_stored, assert_same_sight, tmp_path):
    detector = detector_of(
        f"{files / 'genome.yaml'},{files / 'genome.pth'}", attribute_labels=ATTRIBUTES
    )
    provenance = as_stored(detector)
    assert provenance.settings["labels"] == list(LABELS)
    assert provenance.settings["attribute_labels"] == list(ATTRIBUTES)
    again = rebuild(provenance, files=[files / "genome.yaml", files / "genome.pth"]).detector
    assert_same_sight(detector, again)
    # Elsewhere, under other names, beside a configuration of another model and a damaged one.
    shutil.copy(files / "small.yaml", tmp_path)
    (tmp_path / "a.yaml").write_text("MODEL: [")
    shutil.copy(files / "genome.yaml", tmp_path / "other.yml")
    shutil.copy(files / "genome.pth", tmp_path / "other.pth")
    assert_same_sight(detector, rebuild(provenance, files=[tmp_path]).detector)


def test_weights_that_the_configuration_names(files, as_stored, assert_same_sight):
    detector = detector_of(files / "small.yaml")
    provenance = as_stored(detector)
    assert_same_sight(detector, rebuild(provenance, files=[files / "small.yaml"]).detector)


def test_what_is_missing_is_named(files, as_stored, tmp_path):
    provenance = as_stored(detector_of(files / "small.yaml"))
    digest = provenance.weights_sha256[:12]
    weights = f"without the weights of the detector detectron2:small (SHA-256 {digest}...)"
    config = "without the configuration small.yaml of the detector detectron2:small, not found"
    yaml = tmp_path / "small.yaml"
    # The weights that it names are not beside it; and then others are.
    shutil.copy(files / "small.yaml", yaml)
    for beside in ((), ("genome.pth",)):
        for name in beside:
            shutil.copy(files / name, tmp_path / "weights.pth")
        with pytest.raises(MissingDependencyError) as missing:
            rebuild(provenance, files=[yaml])
        assert weights in missing.value.message
        assert "--models" in missing.value.hint
    with pytest.raises(MissingDependencyError) as missing:
        rebuild(provenance, files=[files / "genome.yaml", files / "weights.pth"])
    assert config in missing.value.message
    # One that is there under its name, and cannot be read, says why.
    yaml.write_text("_BASE_: gone.yaml\n")
    with pytest.raises(MissingDependencyError) as missing:
        rebuild(provenance, files=[yaml, files / "weights.pth"])
    assert f"{yaml} cannot be read as a configuration" in missing.value.hint


def zoo_provenance(content, **settings):
    return Provenance(f"detectron2:{ZOO}", hashlib.sha256(content).hexdigest(), settings)


def test_a_published_model_is_built_by_its_name(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    provenance = zoo_provenance(b"published")
    nothing = KnownFiles([])
    with pytest.raises(MissingDependencyError, match="cannot be fetched") as caught:
        find_origin(provenance, nothing)
    assert caught.value.hint.endswith("a file of your own, name it with --models")
    place = Path(caught.value.hint.splitlines()[1].removeprefix("and put it at "))
    place.write_bytes(b"published")
    assert find_origin(provenance, nothing).weights == DEFAULT_MODEL
    # What is there now is not what made the store, or never could have: it was one's own file.
    for own in (zoo_provenance(b"own"), zoo_provenance(b"published", labels=["a"] * 80)):
        with pytest.raises(MissingDependencyError, match=f"the detector detectron2:{ZOO}"):
            find_origin(own, nothing)
    file = tmp_path / "own.pth"
    file.write_bytes(b"own")
    origin = find_origin(zoo_provenance(b"own"), KnownFiles([tmp_path]))
    assert origin.weights == f"{DEFAULT_MODEL},{file}"
