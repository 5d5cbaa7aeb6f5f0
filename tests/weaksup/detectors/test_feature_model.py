"""Feature networks in ONNX files, on a tiny one that runs in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from weaksup.detectors import roi_align
from weaksup.detectors.feature_model import OnnxFeatureModel
from weaksup.errors import DataError, UsageError
from weaksup.types import Image


def image(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(id=f"{seed}.png", pixels=pixels, size=(height, width))


def test_features_are_pooled_from_the_map(tiny_feature_model):
    model = OnnxFeatureModel(tiny_feature_model, size=64)
    picture = image(64, 64)
    boxes = np.array([[0, 0, 64, 64], [10, 20, 30, 60]], np.float32)
    session = onnxruntime.InferenceSession(str(tiny_feature_model))
    array = picture.pixels.transpose(2, 0, 1)[None].astype(np.float32)
    features = session.run(["features"], {"images": array})[0][0]
    (got,) = model.pool([picture], [boxes])
    assert model.feature_size == 5
    expected = roi_align.average(features, boxes, size=(64, 64))
    np.testing.assert_allclose(got.features, expected, atol=1e-6)
    assert got.classes.shape == got.class_scores.shape == (2, 0)
    assert (model.classes, model.class_slots) == ((), 0)
    assert "classes" not in model.provenance.settings


def test_boxes_are_in_pixels_of_the_picture(tiny_feature_model):
    model = OnnxFeatureModel(tiny_feature_model, size=64)
    pixels = np.zeros((30, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    halves = np.array([[0, 0, 60, 30], [140, 0, 200, 30]], np.float32)
    (got,) = model.pool([Image(id="x", pixels=pixels, size=(30, 200))], [halves])
    assert np.abs(got.features[0]).max() < 1e-3
    assert np.abs(got.features[1]).max() > 1e-2


def test_pictures_do_not_influence_one_another(tiny_feature_model):
    model = OnnxFeatureModel(tiny_feature_model, size=96)
    pictures = [image(40, 70, 1), image(90, 20, 2)]
    boxes = [np.array([[0, 0, 70, 40]], np.float32), np.array([[1, 1, 9, 9]] * 3, np.float32)]
    together = model.pool(pictures, boxes)
    for at in range(2):
        (alone,) = model.pool([pictures[at]], [boxes[at]])
        assert alone.features.tobytes() == together[at].features.tobytes()


def test_the_size_is_in_the_provenance(tiny_feature_model):
    first, second = (OnnxFeatureModel(tiny_feature_model, size=size) for size in (64, 96))
    assert first.provenance.detector == "onnx:tiny_features"
    assert first.provenance.settings["input"]["size"] == (64, 64)
    assert first.provenance.settings != second.provenance.settings
    assert first.provenance.weights_sha256 == second.provenance.weights_sha256


def test_an_output_that_is_no_map(tmp_path, tiny_feature_model):
    path = tmp_path / "x.onnx"
    path.write_bytes(tiny_feature_model.read_bytes())
    path.with_suffix(".toml").write_text('output = "vector"')
    with pytest.raises(DataError, match=r"'vector'.*no feature map"):
        OnnxFeatureModel(path)


def test_a_network_without_a_map(tmp_path, save_onnx):
    from onnx import helper

    path = tmp_path / "x.onnx"
    nodes = [helper.make_node("Flatten", ["images"], ["vector"])]
    save_onnx(path, nodes, [], {"images": ["n", 3, "h", "w"]}, {"vector": ["n", "d"]})
    with pytest.raises(DataError, match="no output that is a feature map"):
        OnnxFeatureModel(path)


def test_a_size_that_the_network_cannot_take(tiny_feature_model):
    with pytest.raises(DataError, match="cannot run on one picture of 4x4"):
        OnnxFeatureModel(tiny_feature_model, size=4)


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        OnnxFeatureModel(tmp_path / "x.onnx")


@pytest.mark.realdata
def test_mobilenet_tells_two_photographs_apart(shared):
    from weaksup.images import decode

    model = OnnxFeatureModel(shared / "models" / "mobilenet_v2.onnx")
    assert model.feature_size == 1280
    paths = sorted((shared / "flickr8k" / "images").iterdir())[:2]
    pictures = [Image(path.name, *decode(path)) for path in paths]
    boxes = np.array([[0, 0, 224, 224], [20, 20, 200, 200]], np.float32)
    first, second = (
        rows.features / np.linalg.norm(rows.features, axis=1, keepdims=True)
        for rows in model.pool(pictures, [boxes, boxes])
    )
    assert first[0] @ first[1] > first[0] @ second[0]
