"""The ONNX detector on tiny networks that run in ONNX Runtime, against decoding written out."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from weaksup.detectors.labels import COCO
from weaksup.detectors.onnx import OnnxDetector
from weaksup.errors import DataError, MissingDependencyError, UsageError
from weaksup.types import Image


def image(height=48, width=80, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(id=f"{seed}.png", pixels=pixels, size=(height, width))


def constant(save_onnx, path, arrays):
    """A detector that says the same of every picture, and a feature map that is the picture's."""
    nodes = [
        helper.make_node("AveragePool", ["images"], ["map"], kernel_shape=[8, 8], strides=[8, 8])
    ]
    weights = []
    for name, array in arrays.items():
        weights.append(numpy_helper.from_array(np.asarray(array, np.float32), f"{name}.value"))
        nodes.append(helper.make_node("Identity", [f"{name}.value"], [name]))
    shapes = {name: list(np.shape(array)) for name, array in arrays.items()}
    save_onnx(path, nodes, weights, {"images": [1, 3, 64, 64]}, shapes)
    return path


class TestYolox:
    def test_decoding_is_that_of_the_paper(self, tiny_detector):
        pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        detector = OnnxDetector(tiny_detector, min_regions=1000, max_regions=1000)
        got = detector.detect([Image(id="x", pixels=pixels, size=(64, 64))])[0]
        session = onnxruntime.InferenceSession(str(tiny_detector))
        array = pixels[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        rows = session.run(None, {"images": array})[0][0]
        naive, at = [], 0
        for stride in (8, 16, 32):
            for y in range(64 // stride):
                for x in range(64 // stride):
                    cx, cy, w, h, objectness, *classes = (float(v) for v in rows[at])
                    at += 1
                    w, h = math.exp(w) * stride / 2, math.exp(h) * stride / 2
                    cx, cy = (cx + x) * stride, (cy + y) * stride
                    box = [max(cx - w, 0), max(cy - h, 0), min(cx + w, 64), min(cy + h, 64)]
                    label = int(np.argmax(classes))
                    naive.append((objectness * classes[label], label, box))
        assert len(got.boxes) > 10
        for label, box, score in zip(got.objects[1:], got.boxes[1:], got.scores[1:], strict=True):
            same = [(s, b) for s, kind, b in naive if kind == label and abs(s - score) < 1e-5]
            assert any(np.allclose(box, other, atol=1e-3) for _, other in same)

    def test_shapes_order_and_labels(self, tiny_detector):
        detector = OnnxDetector(tiny_detector, min_regions=5, max_regions=7)
        assert list(detector.objects) == ["person", "traffic light", "dogs"]
        assert list(detector.attributes) == []
        assert detector.feature_size == 12
        for found in detector.detect([image(), image(30, 200, 1), image(1, 1, 2)]):
            assert 1 <= len(found.boxes) <= 7
            assert found.features.shape == (len(found.boxes), 12)
            assert found.attributes.shape == (len(found.boxes), 0)
            assert (found.objects[0], found.scores[0]) == (-1, 1)
            assert (np.diff(found.scores[1:]) <= 0).all()
            assert (found.objects[1:] >= 0).all()

    def test_boxes_stay_inside_the_picture(self, tiny_detector):
        detector = OnnxDetector(tiny_detector, min_regions=30, max_regions=30)
        found = detector.detect([image(30, 200)])[0]
        assert found.boxes[0].tolist() == [0, 0, 200, 30]
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [200, 30, 200, 30]).all()
        assert (found.boxes[:, 2:] - found.boxes[:, :2] >= 1).all()

    def test_the_result_of_a_picture_is_its_own(self, tiny_detector):
        detector = OnnxDetector(tiny_detector)
        pictures = [image(40 + seed, 60, seed) for seed in range(12)]
        together = detector.detect(pictures)
        with ThreadPoolExecutor(4) as pool:
            apart = list(pool.map(lambda picture: detector.detect([picture])[0], pictures))
        for first, second in zip(together, apart, strict=True):
            assert first.features.tobytes() == second.features.tobytes()
            assert first.boxes.tobytes() == second.boxes.tobytes()

    def test_without_features(self, tiny_detector):
        detector = OnnxDetector(tiny_detector, with_features=False)
        found = detector.detect([image()])[0]
        assert detector.feature_size == 0
        assert found.features.shape == (len(found.boxes), 0)

    def test_provenance_names_what_changes_the_result(self, tiny_detector):
        first = OnnxDetector(tiny_detector).provenance
        second = OnnxDetector(tiny_detector, score_threshold=0.3).provenance
        assert first.detector == "onnx:tiny"
        assert len(first.weights_sha256) == 64
        assert first.settings != second.settings
        assert first.settings["description"]["labels"] == ("person", "traffic light", "dogs")

    def test_the_preset_recognises_coco_models_by_their_rows(self, tmp_path, save_onnx):
        path = constant(save_onnx, tmp_path / "x.onnx", {"output": np.zeros((1, 84, 85))})
        assert tuple(OnnxDetector(path, with_features=False).objects) == COCO
        with pytest.raises(UsageError, match="no tensors to pool"):
            OnnxDetector(path)

    def test_the_preset_names_a_wrong_number_of_labels(self, tmp_path, save_onnx):
        path = constant(save_onnx, tmp_path / "x.onnx", {"output": np.zeros((1, 84, 9))})
        with pytest.raises(UsageError, match="4 classes, not 80"):
            OnnxDetector(path, with_features=False)
        assert OnnxDetector(path, labels=list("abcd"), with_features=False).objects == tuple("abcd")


# Two boxes in pixels of the 64x64 input, and the same in every layout.
CORNERS = np.array([[8, 16, 40, 32], [0, 0, 64, 32]], np.float32)
CENTRES = np.array([[24, 24, 32, 16], [32, 16, 64, 32]], np.float32)
CLASSES = np.array([[0.1, 0.8], [0.4, 0.2]], np.float32)


@pytest.mark.parametrize(
    ("outputs", "description"),
    [
        (
            {"p": np.concatenate([CENTRES, [[0.5], [1.0]], CLASSES], axis=1)[None]},
            'layout = "yolo"',
        ),
        (
            {"p": np.concatenate([CENTRES, CLASSES * [[0.5], [1]]], axis=1).T[None]},
            'layout = "yolov8"',
        ),
        (
            {"b": CORNERS[None], "s": (CLASSES * [[0.5], [1]])[None]},
            'layout = "boxes"\n[outputs]\nboxes = "b"\nscores = "s"',
        ),
        (
            {"b": CENTRES / 64, "s": np.array([0.4, 0.4]), "l": np.array([2, 1])},
            'layout = "boxes"\n[outputs]\nboxes = "b"\nscores = "s"\nlabels = "l"\n'
            'first_label = 1\nbox_format = "cxcywh"\nbox_unit = "fractions"',
        ),
    ],
    ids=["yolo", "yolov8", "boxes", "boxes with labels"],
)
def test_every_layout_gives_the_same_boxes(tmp_path, save_onnx, outputs, description):
    path = constant(save_onnx, tmp_path / "x.onnx", outputs)
    head, _, tail = description.partition("\n")
    path.with_suffix(".toml").write_text(
        f'{head}\nlabels = ["cat", "dog"]\nfeatures = ["map"]\n{tail}'
    )
    # Letterboxed by a half into the upper half of the input.
    found = OnnxDetector(path).detect([image(64, 128)])[0]
    rows = sorted(zip(found.objects.tolist(), found.boxes.tolist(), strict=True))
    assert rows == [
        (-1, [0, 0, 128, 64]),
        (0, [0, 0, 128, 64]),
        (1, [16, 32, 80, 64]),
    ]
    assert found.scores[1:].tolist() == pytest.approx([0.4, 0.4])


def test_features_are_those_of_the_box(tmp_path, save_onnx):
    """The left half of the picture is red, the right half blue: so must their features be."""
    arrays = {"b": [[0, 0, 32, 64], [32, 0, 64, 64]], "s": [[0.9], [0.8]]}
    path = constant(save_onnx, tmp_path / "x.onnx", arrays)
    path.with_suffix(".toml").write_text(
        'layout = "boxes"\nlabels = ["thing"]\nfeatures = ["map"]\nresize = "stretch"\n'
        '[outputs]\nboxes = "b"\nscores = "s"'
    )
    pixels = np.zeros((32, 256, 3), np.uint8)
    pixels[:, :128, 0] = 200
    pixels[:, 128:, 2] = 100
    found = OnnxDetector(path).detect([Image(id="x", pixels=pixels, size=(32, 256))])[0]
    np.testing.assert_allclose(found.features[0], [100, 0, 50], atol=2)
    # The outermost samples of a box see a little of its neighbour, as RoI-Align has it.
    assert found.features[1][0] > 170
    assert found.features[1][2] < 20
    assert found.features[2][0] < 30
    assert found.features[2][2] > 85


class TestErrors:
    def test_no_file(self, tmp_path):
        with pytest.raises(UsageError, match="does not exist"):
            OnnxDetector(tmp_path / "x.onnx")

    @pytest.mark.parametrize("content", [b"", b"not a model", bytes(100)])
    def test_no_model(self, tmp_path, content):
        path = tmp_path / "x.onnx"
        path.write_bytes(content)
        with pytest.raises(DataError, match="not an ONNX model"):
            OnnxDetector(path)

    def test_a_truncated_model(self, tmp_path, tiny_detector):
        path = tmp_path / "x.onnx"
        content = tiny_detector.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError):
            OnnxDetector(path)

    def test_an_unknown_model_names_the_description(self, tiny_feature_model):
        with pytest.raises(UsageError, match="no model that weaksup recognises") as caught:
            OnnxDetector(tiny_feature_model)
        assert "tiny_features.toml" in caught.value.hint

    def test_a_tensor_that_is_not_there(self, tmp_path, save_onnx):
        path = constant(save_onnx, tmp_path / "x.onnx", {"p": np.zeros((1, 3, 6))})
        path.with_suffix(".toml").write_text('layout="yolo"\nlabels=["a"]\nfeatures=["nowhere"]')
        with pytest.raises(DataError, match="no tensor called nowhere"):
            OnnxDetector(path)

    def test_a_tensor_that_is_no_map(self, tmp_path, save_onnx):
        path = constant(save_onnx, tmp_path / "x.onnx", {"p": np.zeros((1, 3, 6))})
        path.with_suffix(".toml").write_text('layout="yolo"\nlabels=["a"]\nfeatures=["p"]')
        with pytest.raises(DataError, match="no feature map"):
            OnnxDetector(path)

    def test_labels_that_do_not_fit(self, tmp_path, save_onnx):
        path = constant(save_onnx, tmp_path / "x.onnx", {"p": np.zeros((1, 3, 6))})
        path.with_suffix(".toml").write_text('layout="yolo"\nlabels="coco"\nfeatures=["map"]')
        with pytest.raises(DataError, match="80 labels has 85 numbers a box"):
            OnnxDetector(path)

    @pytest.mark.skipif(
        "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA"
    )
    def test_a_device_that_is_not_there(self, tiny_detector):
        with pytest.raises(MissingDependencyError, match="CUDA") as caught:
            OnnxDetector(tiny_detector, device="cuda")
        assert "onnxruntime-gpu" in caught.value.hint


def test_nothing_found_leaves_the_whole_image(tmp_path, save_onnx):
    path = constant(save_onnx, tmp_path / "x.onnx", {"p": np.zeros((1, 3, 6))})
    path.with_suffix(".toml").write_text('layout="yolo"\nlabels=["a"]\nfeatures=["map"]')
    found = OnnxDetector(path).detect([image()])[0]
    assert found.boxes.tolist() == [[0, 0, 80, 48]]
    assert found.features.shape == (1, 3)


def test_the_tiny_network_is_valid(tiny_detector):
    onnx.checker.check_model(str(tiny_detector), full_check=True)


@pytest.mark.realdata
def test_yolox_nano_finds_people_and_dogs(shared):
    """Real photographs: the classes that their captions are about, and D = 784."""
    from weaksup.images import decode

    detector = OnnxDetector(shared / "models" / "yolox_nano.onnx")
    assert detector.feature_size == 784
    captions: dict[str, str] = {}
    for line in (shared / "flickr8k" / "Flickr8k.token.txt").read_text().splitlines():
        name, text = line.split("\t")
        captions[name[:-2]] = captions.get(name[:-2], "") + f" {text.lower()} "
    names = [path.name for path in sorted((shared / "flickr8k" / "images").iterdir())[::300]]
    agree = 0
    for name in names:
        pixels, size = decode(shared / "flickr8k" / "images" / name)
        found = detector.detect([Image(id=name, pixels=pixels, size=size)])[0]
        sure = {detector.objects[row] for row in found.objects[found.scores > 0.4] if row >= 0}
        words = captions[name]
        people = any(f" {w} " in words for w in ("man", "woman", "boy", "girl", "people", "men"))
        agree += ("person" in sure) == people
        assert np.isfinite(found.features).all()
        assert 2 <= len(found.boxes) <= 36
    assert agree / len(names) > 0.75
