"""Descriptions of ONNX models: what they mean, and that every error is told at once."""

from __future__ import annotations

import pytest

from weaksup.detectors.description import (
    BOXES,
    read_detector_description,
    read_feature_description,
)
from weaksup.detectors.labels import COCO, read_labels
from weaksup.detectors.preprocess import LETTERBOX, STRETCH, Recipe
from weaksup.errors import DataError, UsageError

FULL = """
layout = "boxes"
labels = ["cat", "dog"]
size = [320, 640]
channels = "rgb"
scale = 0.5
mean = [1, 2, 3]
std = [4, 5, 6]
resize = "stretch"
pad = 0
nms_threshold = 0.7
features = ["inner"]

[outputs]
boxes = "b"
scores = "s"
labels = "l"
first_label = 1
box_format = "cxcywh"
box_unit = "fractions"
"""


def read(tmp_path, text, *, declared_size=None, labels=None):
    path = tmp_path / "model.toml"
    path.write_text(text)
    return read_detector_description(path, declared_size=declared_size, labels=labels)


def test_every_key(tmp_path):
    got = read(tmp_path, FULL)
    assert (got.layout, got.labels, got.nms_threshold) == (BOXES, ("cat", "dog"), 0.7)
    assert got.features == ("inner",)
    assert got.recipe == Recipe(
        size=(320, 640), scale=0.5, mean=(1, 2, 3), std=(4, 5, 6), resize=STRETCH, pad=0
    )
    assert (got.outputs.boxes, got.outputs.scores, got.outputs.labels) == ("b", "s", "l")
    assert (got.outputs.first_label, got.outputs.box_format) == (1, "cxcywh")
    assert got.outputs.box_unit == "fractions"


def test_defaults_and_the_size_that_the_model_declares(tmp_path):
    got = read(tmp_path, 'layout = "yolo"\nlabels = "coco"\n', declared_size=(96, 64))
    assert got.labels == COCO
    assert got.recipe == Recipe(size=(96, 64), resize=LETTERBOX)


def test_labels_from_a_file_beside_it_or_from_the_user(tmp_path):
    (tmp_path / "names.txt").write_text("tea pot\ncup\n\n")
    text = 'layout = "yolo"\nlabels = "names.txt"\nsize = [32, 32]'
    assert read(tmp_path, text).labels == ("tea pot", "cup")
    assert read(tmp_path, text, labels=["mug"]).labels == ("mug",)


def test_all_errors_come_together(tmp_path):
    text = (
        'layout = "yolo9"\nlabel = ["x"]\nchannels = "grb"\nstd = [0, 1, 1]\npad = 300\n'
        "nms_threshold = 2\nsize = [10]\n"
    )
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    for part in (
        "`layout` is 'yolo9'",
        "unknown key `label`: did you mean 'labels'?",
        "`labels` is missing",
        "`channels`",
        "`std`",
        "`pad`",
        "`nms_threshold`",
        "`size` is [10]",
    ):
        assert part in caught.value.message
    assert "pydoc" in caught.value.hint


def test_the_boxes_layout_needs_its_outputs(tmp_path):
    text = 'layout = "boxes"\nlabels = "coco"\nsize = [32, 32]\n[outputs]\nboxs = "b"\n'
    with pytest.raises(UsageError, match=r"`outputs.boxes` is missing") as caught:
        read(tmp_path, text)
    assert "unknown key `outputs.boxs`: did you mean 'boxes'?" in caught.value.message


def test_a_size_that_the_model_does_not_have(tmp_path):
    with pytest.raises(UsageError, match="the input is"):
        read(tmp_path, 'layout="yolo"\nlabels="coco"\nsize=[32, 32]', declared_size=(64, 64))


def test_no_toml(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path, "layout: yolo")


def test_a_feature_network_without_description(tmp_path):
    got = read_feature_description(tmp_path / "none.toml", declared_size=None, size=96)
    assert got.recipe == Recipe(size=(96, 96))
    assert got.output is None


def test_a_feature_network_with_description(tmp_path):
    path = tmp_path / "net.toml"
    path.write_text('output = "map"\nscale = 0.5\nchannels = "bgr"')
    got = read_feature_description(path, declared_size=None, size=96)
    assert got.output == "map"
    assert got.recipe == Recipe(size=(96, 96), scale=0.5, channels="bgr")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"a\n\nb\n", "line 2 .* is empty"), (b"\xff\xfe", "not UTF-8")],
)
def test_bad_label_files(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_labels(path)


def test_coco_has_eighty_labels_all_different():
    assert len(set(COCO)) == len(COCO) == 80
    assert (COCO[0], COCO[9], COCO[79]) == ("person", "traffic light", "toothbrush")
