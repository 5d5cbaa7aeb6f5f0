"""Detectors and feature models by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from weaksup.detectors.build import (
    DetectorOptions,
    ModelChoice,
    build_detector,
    build_feature_model,
    detector_names,
    resolve_auto,
)
from weaksup.errors import UsageError


def test_names():
    assert {"onnx", "torchvision", "demo"} <= set(detector_names())


def test_onnx(tiny_detector, tmp_path):
    options = DetectorOptions(weights=str(tiny_detector), max_regions=4, min_regions=2)
    detector = build_detector("onnx", options)
    assert list(detector.objects) == ["person", "traffic light", "dogs"]
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    assert list(build_detector("onnx", options, labels_file=labels).objects) == ["a", "b", "c"]


def test_onnx_needs_weights():
    with pytest.raises(UsageError, match="needs a model"):
        build_detector("onnx", DetectorOptions())


def test_onnx_has_its_own_precision(tiny_detector):
    with pytest.raises(UsageError, match="precision"):
        build_detector("onnx", DetectorOptions(weights=str(tiny_detector), precision="fp16"))


def test_demo_takes_no_weights():
    with pytest.raises(UsageError, match="own weights"):
        build_detector("demo", DetectorOptions(weights="x"))


def test_unknown():
    with pytest.raises(UsageError, match="did you mean 'onnx'"):
        build_detector("onyx", DetectorOptions())


@pytest.mark.skipif(importlib.util.find_spec("detectron2") is not None, reason="has detectron2")
def test_auto_is_torchvision_without_detectron2():
    assert resolve_auto() == "torchvision"


@pytest.mark.parametrize(
    "wrong", [{"score_threshold": 1.5}, {"min_regions": 0}, {"min_regions": 9, "max_regions": 8}]
)
def test_options_are_checked(wrong):
    with pytest.raises(UsageError):
        DetectorOptions(**wrong)


def choice(weights, **files):
    return ModelChoice("auto", DetectorOptions(weights=weights), **files)


def test_the_files_of_a_choice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "mine.pth", "names.txt", "words.txt", "net.onnx"):
        Path(name).touch()
    (tmp_path / "model").mkdir()
    names = {"labels": Path("names.txt"), "attribute_labels": Path("words.txt")}
    assert choice("mine.yaml,mine.pth", **names).files == [
        Path(name) for name in ("mine.yaml", "mine.pth", "names.txt", "words.txt")
    ]
    # Of the model zoo, with weights of one's own; published weights have no file that was named.
    assert choice("COCO-Detection/x.yaml,mine.pth").files == [Path("mine.pth")]
    assert choice("COCO-Detection/x.yaml").files == []
    assert choice("model", feature_model="net.onnx").files == [Path("model"), Path("net.onnx")]
    assert choice("owner/model", feature_model="resnet50").files == []
    assert choice(None).files == []


@pytest.mark.parametrize(
    ("weights", "elsewhere"),
    [
        ("mine.yaml,mine.pth", "{0}/mine.yaml,{0}/mine.pth"),
        ("COCO-Detection/x.yaml,mine.pth", "COCO-Detection/x.yaml,{0}/mine.pth"),
        ("mine.yaml", "{0}/mine.yaml"),
        ("model", "{0}/model"),
        ("owner/model", "owner/model"),
        ("./gone.pth", "./gone.pth"),
    ],
)
def test_a_choice_for_another_current_folder(weights, elsewhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "mine.pth"):
        Path(name).touch()
    Path("model").mkdir()
    assert choice(weights).absolute().options.weights == elsewhere.format(tmp_path)


def test_feature_models(tiny_feature_model):
    model = build_feature_model(str(tiny_feature_model), size=64)
    assert model.feature_size == 5
    with pytest.raises(UsageError, match="neither an ONNX file nor a torchvision backbone"):
        build_feature_model("nothing_like_it", size=64)


def test_a_feature_model_with_classes(tiny_classifier):
    path, labels = tiny_classifier
    model = build_feature_model(str(path), size=64, labels_file=labels)
    assert model.classes == ("golden retriever", "tabby, tabby cat", "boat")
    with pytest.raises(UsageError, match="--feature-labels is for feature models in ONNX files"):
        build_feature_model("resnet50", size=64, labels_file=labels)
