"""Hugging Face's detectors, built again for a picture that comes later."""

from __future__ import annotations

import importlib
import json
import shutil

import pytest

from weaksup.detectors.build import DetectorOptions, build_detector
from weaksup.detectors.rebuild import rebuild
from weaksup.errors import MissingDependencyError

pytest.importorskip("transformers", reason="transformers is not installed")

ASKED = ("red car,automobile", "ball", "traffic_light")


def detector_of(folder, **options):
    options = {"min_regions": 4, "max_regions": 6, "device": "cpu", **options}
    return build_detector("transformers", DetectorOptions(weights=str(folder), **options))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rt_detr", {}),
        ("detr", {"labels": ("a", "b", "c", "d"), "with_features": False}),
        ("owlv2", {"concepts": ASKED}),
        ("grounding-dino", {"labels": ASKED, "concepts": ("tree",)}),
    ],
)
def test_a_folder_that_was_moved(kind, options, tiny_model, as_stored, assert_same_sight, tmp_path):
    folder = tiny_model(kind)
    detector = detector_of(folder, **options)
    provenance = as_stored(detector)
    assert ("labels" in provenance.settings) == bool(options)
    # Beside others: one with another preparation, one without its weights.
    moved = shutil.copytree(folder, tmp_path / "models" / "moved")
    other = shutil.copytree(folder, tmp_path / "models" / "changed")
    preparation = other / "preprocessor_config.json"
    content = json.loads(preparation.read_text())
    preparation.write_text(json.dumps({**content, "image_std": [0.5, 0.5, 0.5]}))
    shutil.copytree(
        folder, tmp_path / "models" / "lacking", ignore=lambda *_: ["model.safetensors"]
    )
    for files in ([folder], [moved], [tmp_path / "models"], [moved / "model.safetensors"]):
        assert_same_sight(detector, rebuild(provenance, files=files).detector)


def test_weights_in_several_files(tiny_model, as_stored, assert_same_sight, tmp_path):
    import transformers

    folder = shutil.copytree(tiny_model("rt_detr"), tmp_path / "parts")
    (folder / "model.safetensors").unlink()
    model = transformers.AutoModelForObjectDetection.from_pretrained(tiny_model("rt_detr"))
    model.save_pretrained(folder, max_shard_size="20KB")
    detector = detector_of(folder)
    provenance = as_stored(detector)
    assert_same_sight(detector, rebuild(provenance, files=[tmp_path]).detector)
    with pytest.raises(MissingDependencyError, match="without the folder of the detector"):
        rebuild(provenance, files=[tiny_model("rt_detr")])


def test_what_is_missing_is_named(tiny_model, as_stored, tmp_path):
    folder = tiny_model("detr")
    provenance = as_stored(detector_of(folder))
    with pytest.raises(MissingDependencyError) as missing:
        rebuild(provenance, files=[tmp_path])
    assert f"the folder of the detector transformers:{folder.name}" in missing.value.message
    assert "config.json, model.safetensors" in missing.value.message
    assert "--models" in missing.value.hint


def test_a_name_on_the_hub(tiny_model, as_stored, assert_same_sight, tmp_path, monkeypatch):
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--someone--detector"
    snapshot = place / "snapshots" / ("0123456789" * 4)
    shutil.copytree(tiny_model("detr"), snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(snapshot.name)
    detector = detector_of("someone/detector")
    provenance = as_stored(detector)
    assert_same_sight(detector, rebuild(provenance, files=[]).detector)
    shutil.rmtree(place)
    with pytest.raises(MissingDependencyError, match="someone/detector is not on this") as missing:
        rebuild(provenance, files=[])
    assert missing.value.hint.endswith("name it: --models detector")
    # Its files in a folder of any name are the same detector.
    assert_same_sight(detector, rebuild(provenance, files=[tiny_model("detr")]).detector)
