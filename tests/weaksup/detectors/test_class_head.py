"""The feature network's own classes of regions, against its head written out."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from weaksup.detectors.class_head import _best
from weaksup.detectors.feature_model import OnnxFeatureModel
from weaksup.errors import DataError, UsageError
from weaksup.types import Image

# The whole picture, a part of it, and each of its squares.
BOXES = np.array(
    [
        [0, 0, 80, 50],
        [10, 5, 60, 40],
        *([x, y, x + 20, min(y + 20, 50)] for x in (0, 20, 40, 60) for y in (0, 20, 40)),
    ],
    np.float32,
)


def picture(seed=0):
    """Of large squares, so that its regions differ."""
    squares = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    pixels = squares.repeat(20, axis=0).repeat(20, axis=1)[:50]
    return Image(id=f"{seed}.png", pixels=pixels, size=(50, 80))


def softmax(logits):
    shares = np.exp(logits.astype(np.float64))
    return shares / shares.sum(axis=1, keepdims=True)


def naive_head(path, features):
    """Probabilities (M, 4) of the tiny classifier's head."""
    weights = {w.name: numpy_helper.to_array(w) for w in onnx.load(str(path)).graph.initializer}
    return softmax(features @ weights["head"][:, :, 0, 0].T + weights["bias"])


@pytest.fixture
def copy(tmp_path, tiny_classifier):
    """A copy of the tiny classifier, to put a description beside, and its labels."""
    path = tmp_path / "copy.onnx"
    path.write_bytes(tiny_classifier[0].read_bytes())
    return path, tiny_classifier[1]


@pytest.fixture
def network(tmp_path, save_onnx):
    """Write a network whose head is ``nodes``: from ``map`` (N, 3, rows, columns) to (N, 3)."""

    def make(nodes, weights=()):
        path = tmp_path / "network.onnx"
        pool = helper.make_node(
            "AveragePool", ["images"], ["map"], kernel_shape=[8, 8], strides=[8, 8]
        )
        shapes = {"map": ["n", 3, "r", "c"], "classes": ["n", 3]}
        save_onnx(path, [pool, *nodes], weights, {"images": ["n", 3, "h", "w"]}, shapes)
        path.with_suffix(".txt").write_text("a\nb\nc\n")
        return path, path.with_suffix(".txt")

    return make


def test_regions_get_what_the_head_says_of_their_features(tiny_classifier):
    path, labels = tiny_classifier
    model = OnnxFeatureModel(path, size=64, labels=labels)
    assert model.classes == ("golden retriever", "tabby, tabby cat", "boat")
    assert model.class_slots == 5
    (found,) = model.pool([picture()], [BOXES])
    (plain,) = OnnxFeatureModel(path, size=64).pool([picture()], [BOXES])
    assert found.features.tobytes() == plain.features.tobytes()
    # Column 0 is the background, which is never said but keeps its share.
    probabilities = naive_head(path, found.features)[:, 1:]
    order = np.argsort(-probabilities, axis=1)
    assert len({tuple(row) for row in order}) > 1
    assert (found.classes[:, :3] == order).all()
    expected = np.take_along_axis(probabilities, order, axis=1)
    np.testing.assert_allclose(found.class_scores[:, :3], expected, rtol=1e-4)
    assert (found.classes[:, 3:] == -1).all()
    assert (found.class_scores[:, 3:] == 0).all()
    assert (found.classes.dtype, found.class_scores.dtype) == (np.int32, np.float32)


def test_a_constant_map_has_the_networks_own_output(tiny_classifier):
    path, labels = tiny_classifier
    grey = Image(id="x", pixels=np.full((64, 64, 3), 77, np.uint8), size=(64, 64))
    whole = np.array([[0, 0, 64, 64]], np.float32)
    (found,) = OnnxFeatureModel(path, size=64, labels=labels).pool([grey], [whole])
    session = onnxruntime.InferenceSession(str(path))
    (own,) = session.run(["probabilities"], {"images": np.full((1, 3, 64, 64), 77, np.float32)})
    expected = own[0, 1:][found.classes[0, :3]]
    np.testing.assert_allclose(found.class_scores[0, :3], expected, rtol=1e-4)


def test_a_first_line_that_is_no_background_counts(copy, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("foreground\ngolden retriever\ntabby\nboat")
    model = OnnxFeatureModel(copy[0], size=64, labels=labels)
    (found,) = model.pool([picture()], [BOXES])
    assert len(model.classes) == 4
    np.testing.assert_allclose(found.class_scores.sum(axis=1), 1, rtol=1e-4)


def test_logits_are_brought_to_probabilities(copy):
    path, labels = copy
    (expected,) = OnnxFeatureModel(path, size=64, labels=labels).pool([picture()], [BOXES])
    path.with_suffix(".toml").write_text('classes = "logits"')
    model = OnnxFeatureModel(path, size=64, labels=labels)
    (found,) = model.pool([picture()], [BOXES])
    assert model.provenance.settings["classes"]["output"] == "logits"
    assert (found.classes == expected.classes).all()
    np.testing.assert_allclose(found.class_scores, expected.class_scores, rtol=1e-4)


def test_pictures_do_not_influence_one_another(tiny_classifier):
    path, labels = tiny_classifier
    model = OnnxFeatureModel(path, size=64, labels=labels)
    pictures, boxes = [picture(1), picture(2)], [BOXES, BOXES[:2]]
    for at, together in enumerate(model.pool(pictures, boxes)):
        (alone,) = model.pool([pictures[at]], [boxes[at]])
        assert alone.classes.tobytes() == together.classes.tobytes()
        assert alone.class_scores.tobytes() == together.class_scores.tobytes()


def test_labels_are_in_the_provenance_and_nothing_is_without_them(copy, tmp_path):
    path, labels = copy
    plain = OnnxFeatureModel(path, size=64).provenance
    assert set(plain.settings) == {"output", "input", "bins"}
    first = OnnxFeatureModel(path, size=64, labels=labels).provenance
    other = tmp_path / "other.txt"
    other.write_text("background\nx\ny\nz")
    second = OnnxFeatureModel(path, size=64, labels=other).provenance
    assert first.settings["classes"]["output"] == "probabilities"
    assert first.settings["classes"]["labels_sha256"] != second.settings["classes"]["labels_sha256"]
    without = {key: value for key, value in first.settings.items() if key != "classes"}
    assert (without, first.weights_sha256) == (plain.settings, plain.weights_sha256)


def test_a_head_with_branches_brings_what_they_read(network):
    """Names inside the branches of an If are not among the inputs of the node."""
    weights = [
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.array([1, 2, 3], np.float32), "factors"),
    ]

    def branch(kind):
        out = helper.make_tensor_value_info(kind, TensorProto.FLOAT, ["n", 3])
        return helper.make_graph(
            [helper.make_node(kind, ["vector", "factors"], [kind])], kind, [], [out]
        )

    nodes = [
        helper.make_node("GlobalAveragePool", ["map"], ["means"]),
        helper.make_node("Flatten", ["means"], ["vector"]),
        helper.make_node(
            "If", ["yes"], ["classes"], then_branch=branch("Mul"), else_branch=branch("Add")
        ),
    ]
    path, labels = network(nodes, weights)
    (found,) = OnnxFeatureModel(path, size=64, labels=labels).pool([picture()], [BOXES])
    expected = softmax(found.features * [1, 2, 3])
    np.testing.assert_allclose(found.class_scores[:, 0], expected.max(axis=1), rtol=1e-4)


@pytest.mark.parametrize("columns", [1, 3, 5, 6, 40])
def test_the_best_and_the_first_of_equals(columns):
    scores = np.random.default_rng(columns).integers(0, 9, (30, columns)).astype(np.float32)
    classes, values = _best(scores)
    for row, found, score in zip(scores, classes, values, strict=True):
        ranked = sorted(range(columns), key=lambda at: (-row[at], at))[:5]
        padding = 5 - len(ranked)
        assert score.tolist() == [*row[ranked].tolist(), *[0] * padding]
        # Which of the equals at the end is taken is free; their order is not.
        assert row[found[: len(ranked)]].tolist() == row[ranked].tolist()
        pairs = list(zip(score[: len(ranked)], found[: len(ranked)], strict=True))
        assert pairs == sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
        assert found[len(ranked) :].tolist() == [-1] * padding


MEANS = [
    helper.make_node("GlobalAveragePool", ["map"], ["means"]),
    helper.make_node("Flatten", ["means"], ["vector"]),
]


class TestErrors:
    def test_no_output_of_that_width(self, copy, tmp_path):
        labels = tmp_path / "labels.txt"
        labels.write_text("a\nb\nc\n")
        with pytest.raises(UsageError, match=r"no output \(N, 3\) for 3 labels of") as caught:
            OnnxFeatureModel(copy[0], size=64, labels=labels)
        assert "probabilities (None, 4)" in caught.value.message
        assert "`classes`" in caught.value.hint

    def test_a_named_tensor_of_another_width(self, copy, tmp_path):
        labels = tmp_path / "labels.txt"
        labels.write_text("a\nb\nc\n")
        copy[0].with_suffix(".toml").write_text('classes = "logits"')
        with pytest.raises(UsageError, match=r"'logits' .*\(2, 4\).* has 3 labels"):
            OnnxFeatureModel(copy[0], size=64, labels=labels)

    def test_a_tensor_that_is_not_there(self, copy):
        copy[0].with_suffix(".toml").write_text('classes = "nowhere"')
        with pytest.raises(DataError, match="no tensor called nowhere"):
            OnnxFeatureModel(copy[0], size=64, labels=copy[1])
        # Without labels nobody asks for classes.
        assert OnnxFeatureModel(copy[0], size=64).classes == ()

    def test_a_head_that_needs_another_tensor(self, network):
        """As a network that joins an early map into its classes."""
        nodes = [
            *MEANS,
            helper.make_node("Relu", ["images"], ["early"]),
            helper.make_node("GlobalAveragePool", ["early"], ["early.means"]),
            helper.make_node("Flatten", ["early.means"], ["early.vector"]),
            helper.make_node("Add", ["vector", "early.vector"], ["classes"]),
        ]
        path, labels = network(nodes)
        with pytest.raises(
            DataError, match=r"beside the map 'map' they need early\.vector"
        ) as error:
            OnnxFeatureModel(path, size=64, labels=labels)
        assert "`output` or `classes`" in error.value.hint

    def test_classes_that_do_not_come_from_the_map(self, network):
        nodes = [
            helper.make_node("GlobalAveragePool", ["images"], ["means"]),
            helper.make_node("Flatten", ["means"], ["classes"]),
        ]
        path, labels = network(nodes)
        with pytest.raises(DataError, match="not computed from the map 'map'"):
            OnnxFeatureModel(path, size=64, labels=labels)

    def test_a_head_for_one_picture_alone(self, network):
        nodes = [MEANS[0], helper.make_node("Reshape", ["means", "one"], ["classes"])]
        shape = numpy_helper.from_array(np.array([1, 3], np.int64), "one")
        path, labels = network(nodes, [shape])
        with pytest.raises(DataError, match="cannot run on regions") as caught:
            OnnxFeatureModel(path, size=64, labels=labels)
        assert "open batch" in caught.value.hint

    def test_nothing_but_a_background(self, copy, tmp_path):
        path, labels = copy[0], tmp_path / "labels.txt"
        labels.write_text("Background\n")
        with pytest.raises(UsageError, match="the background alone"):
            OnnxFeatureModel(path, size=64, labels=labels)

    def test_no_labels_file(self, copy, tmp_path):
        with pytest.raises(UsageError, match="does not exist"):
            OnnxFeatureModel(copy[0], size=64, labels=tmp_path / "x.txt")


@pytest.mark.realdata
def test_mobilenet_says_of_whole_photographs_what_it_says_itself(shared):
    from weaksup.detectors.preprocess import network_input
    from weaksup.images import decode

    path = shared / "models" / "mobilenet_v2.onnx"
    model = OnnxFeatureModel(path, labels=shared / "models" / "imagenet_labels.txt")
    assert len(model.classes) == 1000
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    agree = 0
    photographs = sorted((shared / "flickr8k" / "images").iterdir())[:600:100]
    for photograph in photographs:
        pixels, size = decode(photograph)
        height, width = pixels.shape[:2]
        boxes = np.array([[0, 0, width, height], [0, 0, width / 2, height / 2]], np.float32)
        (found,) = model.pool([Image(photograph.name, pixels, size)], [boxes])
        (own,) = session.run(["probabilities"], {"images": network_input(pixels, model._recipe)})
        agree += int(own[0, 1:].argmax() == found.classes[0, 0])
        np.testing.assert_allclose(found.class_scores[0], own[0, 1:][found.classes[0]], atol=0.1)
        assert ((found.class_scores >= 0) & (found.class_scores <= 1)).all()
        assert (np.diff(found.class_scores, axis=1) <= 0).all()
        assert ((found.classes >= 0) & (found.classes < 1000)).all()
    assert agree >= 4
