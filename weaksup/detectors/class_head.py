"""The classes of a feature network, told of each region (``--feature-labels``).

A classifier averages its last map over the picture and gives the average to its head: some layers
that end in a score a class. A region feature is the same average over the region, so that the
head can be given that. The head is cut out of the graph, from the map to the scores, and runs on
region features as maps of one cell.

Letters: M regions of one image, D feature width, C columns of the scores, K class slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from weaksup.detectors.description import description_path
from weaksup.detectors.labels import read_labels
from weaksup.detectors.onnx_session import OnnxFile, OnnxSession
from weaksup.errors import DataError, UsageError
from weaksup.files import sha256
from weaksup.types import Float32, Int32
from weaksup.wording import counted

CLASS_SLOTS = 5
BACKGROUND = "background"

_REGIONS = "weaksup.regions"
# Older files must list their weights among the inputs.
_LEAST_IR_VERSION = 4


class ClassHead:
    """The part of a classifier from its map to its classes; ``best`` may run in many threads.

    Args:
        file: the network.
        features: the tensor that is the map.
        classes: the tensor (N, C) that has a column a class; None for the output of that width.
        labels: file with a class a line, its names with ", " between; the first line may be
            ``background``, which no region is ever called.
        example: (1, D) float32, a region feature to try the head on.
        device: ``auto``, ``cpu`` or ``cuda``.

    Attributes:
        labels: the lines of the file without the background.
        settings: what of all this changes a result; JSON-compatible.

    Raises:
        UsageError: if the labels fit no output, or the file of labels is missing.
        DataError: if the classes need more than the map, or the head cannot run on regions.
    """

    def __init__(
        self,
        file: OnnxFile,
        *,
        features: str,
        classes: str | None,
        labels: Path,
        example: Float32,
        device: str,
    ) -> None:
        lines = read_labels(labels)
        self._first = 1 if lines[0].lower() == BACKGROUND else 0
        self.labels = lines[self._first :]
        if not self.labels:
            raise UsageError(f"the labels file {labels} names the background alone")
        output = classes or _find_output(file, columns=len(lines), labels=labels)
        head = cut_head(file, features=features, output=output)
        self._session = OnnxSession(
            file.path, head.SerializeToString(), outputs=[output], device=device
        )
        scores = self._probe(example, features=features, output=output)
        if scores.shape[1:] != (len(lines),):
            raise UsageError(
                f"'{output}' of {file.path} has the shape {scores.shape} for "
                f"{counted(len(scores), 'region')}, and {labels} has "
                f"{counted(len(lines), 'label')}",
                "name the file with one label a class, in the network's order",
            )
        # Of several rows: logits do not happen to be probabilities twice.
        sums_to_one = np.allclose(scores.sum(axis=1), 1, atol=1e-3)
        self._softmax = not (sums_to_one and bool((scores >= 0).all()))
        self.settings = {
            "output": output,
            "labels_sha256": sha256(labels),
            "slots": CLASS_SLOTS,
        }

    def best(self, features: Float32) -> tuple[Int32, Float32]:
        """The most probable classes of each region.

        Args:
            features: (M, D) float32.

        Returns:
            (M, K) int32 rows of ``labels``, the most probable first, -1 as padding, and (M, K)
            float32 probabilities, 0 as padding. The background keeps its share of them.
        """
        scores = self._run(features)
        if self._softmax:
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
        return _best(scores[:, self._first :])

    def _run(self, features: Float32) -> Float32:
        (scores,) = self._session.run(features[:, :, None, None])
        return scores

    def _probe(self, example: Float32, *, features: str, output: str) -> Float32:
        try:
            return self._run(np.concatenate([example, np.zeros_like(example)]))
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise DataError(
                f"the part of {self._session.path} from '{features}' to '{output}' cannot run on "
                f"regions, which are maps of one cell: {error}",
                "it must take any number of maps of any size: export the network with an open "
                "batch and picture size, or leave --feature-labels out",
            ) from error


def cut_head(file: OnnxFile, *, features: str, output: str) -> onnx.ModelProto:
    """The part of a network that computes ``output`` from ``features``.

    Returns:
        A model whose one input stands in for ``features`` and may be (M, D, 1, 1).

    Raises:
        DataError: if there is no tensor ``output``, or ``features`` alone does not give it.
    """
    path, where = file.path, description_path(file.path)
    if not file.has_tensor(output):
        raise DataError(f"{path} has no tensor called {output}", f"correct `classes` in {where}")
    graph = file.model.graph
    cuts = _same_tensors(graph, features)
    nodes, others = _between(graph, cuts, output)
    used = {output, *(name for node in nodes for name in _reads(node))}
    if others or not used & cuts:
        what = (
            f"beside the map '{features}' they need {', '.join(others)}"
            if others
            else f"they are not computed from the map '{features}'"
        )
        raise DataError(
            f"the classes '{output}' of {path} cannot be told of a region: {what}",
            f"name another tensor as `output` or `classes` in {where}, or leave --feature-labels "
            "out",
        )
    entries = [helper.make_node("Identity", [_REGIONS], [name]) for name in sorted(used & cuts)]
    head = helper.make_graph(
        [*entries, *nodes],
        "head",
        [helper.make_tensor_value_info(_REGIONS, TensorProto.FLOAT, ["M", "D", 1, 1])],
        [onnx.ValueInfoProto(name=output)],
        [tensor for tensor in graph.initializer if tensor.name in used],
    )
    return helper.make_model(
        head,
        opset_imports=file.model.opset_import,
        functions=file.model.functions,
        ir_version=max(file.model.ir_version, _LEAST_IR_VERSION),
    )


def _find_output(file: OnnxFile, *, columns: int, labels: Path) -> str:
    """The first output (N, ``columns``)."""
    for output in file.outputs:
        if len(output.shape) == 2 and output.shape[1] == columns:
            return output.name
    shapes = ", ".join(f"{output.name} {output.shape}" for output in file.outputs)
    raise UsageError(
        f"{file.path} has no output (N, {columns}) for {counted(columns, 'label')} of {labels}: "
        f"{shapes}",
        "name the file with one label a class, or an inner tensor as `classes` in "
        f"{description_path(file.path)}",
    )


def _same_tensors(graph: onnx.GraphProto, name: str) -> set[str]:
    """``name`` and what it is a mere copy of: exporters read on from the one that is copied."""
    copies = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    same = {name}
    while name in copies:
        name = copies[name]
        same.add(name)
    return same


def _between(
    graph: onnx.GraphProto, cuts: set[str], output: str
) -> tuple[list[onnx.NodeProto], list[str]]:
    """What computes ``output``, and what that needs of the picture past the tensors ``cuts``.

    Returns:
        The nodes, in order, and the names of the other tensors that they would need.
    """
    constants = {tensor.name for tensor in graph.initializer}
    of_map = set(cuts)
    of_picture = {value.name for value in graph.input} - constants - cuts
    for node in graph.node:
        written = set(node.output) - cuts
        for group in (of_map, of_picture):
            if not group.isdisjoint(_reads(node)):
                group |= written
    needed, nodes, others = {output}, [], set[str]()
    for node in reversed(graph.node):
        if needed.isdisjoint(set(node.output) - cuts):
            continue
        reads = set(_reads(node))
        nodes.append(node)
        needed |= reads
        if not of_map.isdisjoint(node.output):
            others |= reads & (of_picture - of_map)
    return nodes[::-1], sorted(others)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those of the branches and loops inside it included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for inner in body.node:
                yield from _reads(inner)


def _best(scores: Float32) -> tuple[Int32, Float32]:
    """Columns and values of the highest scores of each row, (M, K) each; the lower of equals."""
    count, slots = scores.shape[1], min(CLASS_SLOTS, scores.shape[1])
    classes = np.full((len(scores), CLASS_SLOTS), -1, np.int32)
    values = np.zeros((len(scores), CLASS_SLOTS), np.float32)
    # Finding the best among a thousand is ten times faster than sorting them.
    best = np.sort(np.argpartition(scores, count - slots, axis=1)[:, count - slots :], axis=1)
    found = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    classes[:, :slots] = np.take_along_axis(best, order, axis=1)
    values[:, :slots] = np.take_along_axis(found, order, axis=1)
    return classes, values
