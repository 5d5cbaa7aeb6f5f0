"""Fixtures for what stands on a region store, and tiny networks to fill one with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image as Pillow

from weaksup.cli import main
from weaksup.store import StoreItem, write_store
from weaksup.types import STATUS_OK, STATUS_UNREADABLE, Provenance, Regions

# Region by region: object name, attribute names, score.
Named = Sequence[tuple[str, Sequence[str], float]]


@pytest.fixture
def make_store() -> Callable[[Path, Mapping[str, Named | None]], Path]:
    """Write a store in which images show the given concepts; None is an unreadable image."""

    def make(path: Path, images: Mapping[str, Named | None]) -> Path:
        regions = [region for named in images.values() for region in named or ()]
        objects = sorted({name for name, _, _ in regions})
        attributes = sorted({word for _, words, _ in regions for word in words})
        slots = max((len(words) for _, words, _ in regions), default=0)

        def item(named: Named | None) -> StoreItem:
            if named is None:
                return StoreItem((0, 0), STATUS_UNREADABLE, None, "truncated")
            size = 1 + len(named)
            attribute_rows = np.full((size, slots), -1, np.int32)
            for place, (_, words, _) in enumerate(named, start=1):
                attribute_rows[place, : len(words)] = [attributes.index(word) for word in words]
            rows = Regions(
                boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (size, 1)),
                features=np.ones((size, 2), np.float32),
                scores=np.array([1, *(score for _, _, score in named)], np.float32),
                objects=np.array([-1, *(objects.index(name) for name, _, _ in named)], np.int32),
                attributes=attribute_rows,
            )
            return StoreItem((4, 4), STATUS_OK, rows)

        path.parent.mkdir(parents=True, exist_ok=True)
        return write_store(
            path,
            [item(named) for named in images.values()],
            ids=list(images),
            feature_size=2,
            attribute_slots=slots,
            objects=objects,
            attributes=attributes,
            provenance=Provenance("test", "0" * 64, {}),
        )

    return make


def _random(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="session")
def tiny_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOX-shaped network of random weights with its description beside it.

    Input 64x64, three classes, pyramid levels ``level8`` and ``level16`` of 6 channels.
    """
    generator = np.random.default_rng(7)
    nodes, weights, columns = [], [], []
    for stride in (8, 16, 32):
        pool, level, head = f"pool{stride}", f"level{stride}", f"head{stride}"
        for name, outputs, inputs in ((level, 6, 3), (head, 8, 6)):
            values = _random(generator, outputs, inputs, 1, 1) / (100 if name == level else 2)
            weights.append(numpy_helper.from_array(values, f"{name}.weight"))
        shape = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("AveragePool", ["images"], [pool], **shape),
            helper.make_node("Conv", [pool, f"{level}.weight"], [level]),
            helper.make_node("Conv", [level, f"{head}.weight"], [head]),
            helper.make_node("Reshape", [head, "flat"], [f"rows{stride}"]),
        ]
        columns.append(f"rows{stride}")
    weights.append(numpy_helper.from_array(np.array([1, 8, -1], np.int64), "flat"))
    weights.append(numpy_helper.from_array(np.array([4, 4], np.int64), "parts"))
    nodes += [
        helper.make_node("Concat", columns, ["all"], axis=2),
        helper.make_node("Split", ["all", "parts"], ["boxes", "logits"], axis=1),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        helper.make_node("Concat", ["boxes", "probabilities"], ["joined"], axis=1),
        helper.make_node("Transpose", ["joined"], ["output"], perm=[0, 2, 1]),
    ]
    path = tmp_path_factory.mktemp("detector") / "tiny.onnx"
    write_onnx(path, nodes, weights, {"images": [1, 3, 64, 64]}, {"output": [1, 84, 8]})
    path.with_suffix(".toml").write_text(
        'layout = "yolox"\nlabels = ["person", "traffic light", "dogs"]\nchannels = "bgr"\n'
        'features = ["level8", "level16"]\n'
    )
    return path


@pytest.fixture(scope="session")
def tiny_feature_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of one convolution with stride 8: any input size, 5 channels."""
    weight = _random(np.random.default_rng(8), 5, 3, 8, 8) / 1000
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["features"], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["features"], ["means"]),
        helper.make_node("Flatten", ["means"], ["vector"]),
    ]
    path = tmp_path_factory.mktemp("features") / "tiny_features.onnx"
    write_onnx(
        path,
        nodes,
        [numpy_helper.from_array(weight, "weight")],
        {"images": ["n", 3, "h", "w"]},
        {"vector": ["n", 5], "features": ["n", 5, "r", "c"]},
    )
    return path


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A classifier of 5 channels and 4 classes, and the file that names them.

    As exporters do it, ``features`` is a copy of the tensor that the head reads.
    """
    generator = np.random.default_rng(11)
    weights = {
        "weight": _random(generator, 5, 3, 8, 8) / 1000,
        "head": _random(generator, 4, 5, 1, 1),
        "bias": _random(generator, 4),
    }
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["map"], strides=[8, 8]),
        helper.make_node("Identity", ["map"], ["features"]),
        helper.make_node("GlobalAveragePool", ["map"], ["means"]),
        helper.make_node("Conv", ["means", "head", "bias"], ["scores"]),
        helper.make_node("Flatten", ["scores"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    folder = tmp_path_factory.mktemp("classifier")
    write_onnx(
        folder / "tiny_classifier.onnx",
        nodes,
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
        {"images": ["n", 3, "h", "w"]},
        {"features": ["n", 5, "r", "c"], "probabilities": ["n", 4]},
    )
    labels = folder / "labels.txt"
    labels.write_text("background\ngolden retriever\ntabby, tabby cat\nboat\n")
    return folder / "tiny_classifier.onnx", labels


def write_onnx(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
) -> None:
    """Write an ONNX model of float32 inputs and outputs."""

    def declare(shapes: Mapping[str, Sequence[int | str]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))
            for name, shape in shapes.items()
        ]

    graph = helper.make_graph(nodes, "tiny", declare(inputs), declare(outputs), weights)
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))


@pytest.fixture(scope="session")
def save_onnx() -> Callable[..., None]:
    """``write_onnx``, for tests that need a network of their own."""
    return write_onnx


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of eleven pictures of several sizes, one of them broken."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    generator = np.random.default_rng(9)
    for number in range(10):
        pixels = generator.integers(0, 256, (3 + number, 4, 3), dtype=np.uint8)
        picture = Pillow.fromarray(pixels).resize((40 + 9 * number, 60), Pillow.Resampling.BICUBIC)
        picture.save(folder / ("inner" if number % 2 else ".") / f"{number}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more of it")
    return folder


@pytest.fixture
def run_extract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``weaksup extract`` in an empty folder: exit code, stdout, stderr."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["extract", *map(str, words)])
        return (int(end.value.code or 0), *capsys.readouterr())

    return call
