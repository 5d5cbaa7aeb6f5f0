"""Hugging Face's models from folders, from its cache, and what is wrong with them."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from weaksup.concepts import read_concepts
from weaksup.detectors.build import DetectorOptions, build_detector
from weaksup.detectors.transformers_weights import load_transformers_detector
from weaksup.errors import DataError, MissingDependencyError, UsageError
from weaksup.files import sha256
from weaksup.store import open_store
from weaksup.workspace import Workspace

hf = pytest.importorskip("transformers", reason="transformers is not installed")


def load(folder, **settings):
    return load_transformers_detector(str(folder), device="cpu", **settings)


@pytest.fixture
def own(tiny_model, tmp_path):
    """A copy of a model that a test may damage."""

    def copy(kind):
        return shutil.copytree(tiny_model(kind), tmp_path / f"my-{kind}")

    return copy


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_a_folder(tiny_model):
    folder = tiny_model("rt_detr")
    options = DetectorOptions(weights=str(folder), device="cpu", max_regions=5, min_regions=2)
    detector = build_detector("transformers", options)
    assert tuple(detector.objects) == ("ball", "tree", "red car")
    assert tuple(detector.attributes) == ()
    provenance = detector.provenance
    assert provenance.detector == f"transformers:{folder.name}"
    assert provenance.weights_sha256 == sha256(folder / "model.safetensors")
    settings = dict(provenance.settings)
    assert len(settings.pop("config_sha256")) == 64
    assert settings == {
        "kind": "rt_detr",
        "features": "decoder queries",
        "nms_threshold": None,
        "precision": "float32",
        "score_threshold": 0.2,
        "min_regions": 2,
        "max_regions": 5,
    }


def test_provenance_tells_models_apart(own):
    folder = own("owlvit")
    one = load(folder, labels=["ball", "tree"]).provenance
    assert one.settings["prompts"] == ["a photo of a ball", "a photo of a tree"]
    assert one.settings["nms_threshold"] == 0.5
    assert load(folder, labels=["ball", "tree"]).provenance == one
    assert load(folder, labels=["tree", "ball"]).provenance != one
    edit(folder / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5])
    other = load(folder, labels=["ball", "tree"]).provenance
    assert other.settings["config_sha256"] != one.settings["config_sha256"]
    assert other.weights_sha256 == one.weights_sha256


def test_weights_in_several_files(own):
    folder = own("rt_detr")
    whole = load(folder)
    model = hf.AutoModelForObjectDetection.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    several = load(folder)
    assert len(several.provenance.weights_sha256) == 64
    assert several.provenance.weights_sha256 != whole.provenance.weights_sha256
    parts[1].unlink()
    with pytest.raises(DataError, match=f"lacks {parts[1].name}"):
        load(folder)


def test_names_for_classes(own, tmp_path):
    folder = own("detr")
    assert load(folder, labels=["a", "b", "N/A", "c"]).objects == ("a", "b", "c")
    with pytest.raises(DataError, match=r"3 labels for my-detr, which has 4 classes"):
        load(folder, labels=["a", "b", "c"])
    edit(folder / "config.json", id2label={str(row): f"LABEL_{row}" for row in range(4)})
    with pytest.raises(UsageError, match="does not name its 4 classes"):
        load(folder)


@pytest.mark.parametrize("kind", ["grounding-dino", "owlv2"])
def test_an_open_vocabulary_is_asked(tiny_model, kind):
    folder = tiny_model(kind)
    with pytest.raises(UsageError, match=r"was not told what\nname it with --concepts FILE"):
        load(folder)
    assert load(folder, concepts=["ball", "tree", "ball"]).objects == ("ball", "tree")
    assert load(folder, concepts=["ball"], labels=["dog"]).objects == ("dog",)


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "no where/at all", "./models/mine"])
def test_neither_a_folder_nor_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"'{name}' is neither a folder nor a name"):
        load(name)


def test_a_file_is_no_folder(tiny_model):
    with pytest.raises(UsageError, match="is neither a folder"):
        load(tiny_model("detr") / "model.safetensors")


def test_other_kinds_are_refused(own):
    folder = own("detr")
    edit(folder / "config.json", model_type="yolos")
    with pytest.raises(UsageError, match="of the kind 'yolos', which is not supported"):
        load(folder)
    edit(folder / "config.json", model_type="detrr")
    with pytest.raises(UsageError, match="did you mean 'detr'"):
        load(folder)


def test_pickled_weights_are_not_opened(own):
    folder = own("detr")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"pytorch_model.bin is not opened, for a pickle may run"):
        load(folder)


def test_code_that_comes_with_a_model_is_not_run(own, tmp_path):
    folder = own("detr")
    trace = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w')\n")
    for name in ("config.json", "preprocessor_config.json"):
        classes = ("AutoConfig", "AutoModelForObjectDetection", "AutoImageProcessor")
        edit(folder / name, auto_map=dict.fromkeys(classes, "evil.Evil"))
    assert len(load(folder).objects) == 3
    assert not trace.exists()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "it has no config.json"),
        ("preprocessor_config.json", "does not say how pictures are prepared"),
        ("model.safetensors", "lacks model.safetensors"),
        ("tokenizer.json", "does not say how texts are read"),
    ],
)
def test_missing_files(own, missing, said):
    folder = own("owlvit")
    (folder / missing).unlink()
    with pytest.raises(DataError, match=said):
        load(folder, labels=["ball"])


def test_damaged_files(own):
    folder = own("rt_detr")
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(DataError, match="no model can be read from"):
        load(folder)
    weights.write_bytes(whole)
    tensors = load_file(weights)
    del tensors["model.enc_output.0.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lack 1 tensors of the model: model.enc_output.0.weight"):
        load(folder)
    weights.write_bytes(whole)
    edit(config, num_queries="many")
    with pytest.raises(DataError, match="no model can be read from"):
        load(folder)
    config.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        load(folder)


def test_a_name_that_is_not_here_offline(photos, tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    words = ["--images", photos, "--detector", "transformers", "--weights", "someone/detector"]
    command = [sys.executable, "-m", "weaksup.cli", "extract", *map(str, words)]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 4
    assert "someone/detector is not on this machine and cannot be fetched" in run.stderr
    assert "hf download someone/detector --local-dir detector" in run.stderr
    assert "https://huggingface.co/someone/detector/tree/main" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("kind", ["detr", "grounding-dino"])
def test_a_name_that_is_in_the_cache_needs_no_network(kind, tmp_path, monkeypatch, tiny_model):
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--someone--detector"
    snapshot = place / "snapshots" / ("0123456789" * 4)
    shutil.copytree(tiny_model(kind), snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(snapshot.name)
    seen = load("someone/detector", concepts=["ball"])
    assert seen.provenance.detector == "transformers:someone/detector"
    # What another program has left of it is not enough.
    lacking = "tokenizer.json" if kind == "grounding-dino" else "model.safetensors"
    (snapshot / lacking).unlink()
    with pytest.raises(MissingDependencyError, match=f"lacks {lacking}, and the hub has not given"):
        load("someone/detector", concepts=["ball"])


def test_extract_looks_for_the_concepts(run_extract, photos, tiny_model, tmp_path):
    concepts = tmp_path / "things.txt"
    concepts.write_text("# mine\nball\tsphere\nTrees\nred\ntraffic light\n")
    words = ("--images", photos, "--detector", "transformers", "--batch-size", 4)
    model = ("--weights", tiny_model("owlv2"), "--concepts", concepts)
    code, out, err = run_extract(*words, *model, "--score-threshold", 0)
    assert code == 0, err
    assert "images: 11" in out
    workspace = Workspace.open()
    store = open_store(workspace.regions)
    prompts = ["a photo of a ball", "a photo of a trees", "a photo of a traffic light"]
    assert store.provenance.settings["prompts"] == prompts
    assert set(store.objects) == {"ball", "tree", "traffic light"}
    assert "red" in store.attributes
    found = {concept.name: concept for concept in read_concepts(workspace.concepts).concepts}
    assert found["ball"].aliases == ("sphere",)
    assert sum(concept.regions for concept in found.values() if concept.kind == "object") > 10
    for at in range(len(store)):
        regions = store.regions(at)
        if len(regions):
            np.testing.assert_array_equal(regions.boxes[0], [0, 0, 1, 1])
            assert regions.features.shape == (len(regions), 32)
    code, _, err = run_extract(*words, "--weights", tiny_model("owlv2"), "--overwrite")
    assert code == 2
    assert "--concepts FILE" in err


def test_extract_with_a_feature_model(run_extract, photos, tiny_model, tiny_feature_model):
    words = ("--images", photos, "--detector", "transformers", "--weights", tiny_model("rt_detr"))
    code, _, err = run_extract(*words, "--feature-model", tiny_feature_model)
    assert code == 0, err
    store = open_store(Workspace.open().regions)
    assert store.provenance.settings["features"] == "none"
    assert store.regions(0).features.shape[1] == 5
