"""ONNX files: reading what they declare, and running them.

Threads: on the CPU a session has one thread and is called from as many threads as the caller
has. That is faster than one session of many threads, because small layers do not divide well,
and it makes the result of a picture independent of how many run at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from weaksup.errors import DataError, MissingDependencyError
from weaksup.files import require_file
from weaksup.types import Float32

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class TensorInfo:
    """A declared input or output: None stands for a size that is not fixed."""

    name: str
    shape: tuple[int | None, ...]


class OnnxFile:
    """An ONNX model, parsed but not yet ready to run.

    Args:
        path: the file.

    Raises:
        UsageError: if there is no such file.
        DataError: if it is not an ONNX model.
    """

    def __init__(self, path: Path) -> None:
        require_file(path, "weights file", "name an ONNX file")
        self.path = path
        try:
            self.model = onnx.load(str(path))
            parsed = bool(self.model.graph.node)
        except Exception as error:  # protobuf raises its own kinds, which differ by version
            raise _not_onnx(path, str(error)) from error
        if not parsed:
            raise _not_onnx(path, "it holds no graph")

    @property
    def inputs(self) -> list[TensorInfo]:
        constants = {tensor.name for tensor in self.model.graph.initializer}
        return [_info(value) for value in self.model.graph.input if value.name not in constants]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [_info(value) for value in self.model.graph.output]

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of the one input (N, 3, height, width), if the file fixes them."""
        shape = self.inputs[0].shape
        if len(self.inputs) != 1 or len(shape) != 4 or shape[2] is None or shape[3] is None:
            return None
        return shape[2], shape[3]

    def has_operator(self, kind: str) -> bool:
        """Whether a node of this operator type is in the graph."""
        return any(node.op_type == kind for node in self.model.graph.node)

    def has_tensor(self, name: str) -> bool:
        """Whether a node of the graph writes a tensor of this name."""
        return any(name in node.output for node in self.model.graph.node)

    def session(self, *, outputs: Sequence[str], device: str) -> OnnxSession:
        """Make the model ready to give the tensors called ``outputs``, inner ones included.

        Args:
            outputs: names of outputs or inner tensors.
            device: ``auto``, ``cpu`` or ``cuda``.

        Raises:
            DataError: if the graph has no tensor of such a name, or ONNX Runtime refuses it.
            MissingDependencyError: for ``cuda`` where ONNX Runtime has none.
        """
        declared = {output.name for output in self.outputs}
        inner = [name for name in outputs if name not in declared]
        missing = [name for name in inner if not self.has_tensor(name)]
        if missing:
            raise DataError(
                f"{self.path} has no tensor called {', '.join(missing)}",
                "correct the names in its description; Netron (netron.app) shows a graph's names",
            )
        model = self.model
        if inner:
            model = onnx.ModelProto()
            model.CopyFrom(self.model)
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
        # Without inner tensors the path, so that weights kept beside the file are found.
        source = model.SerializeToString() if inner else str(self.path)
        return OnnxSession(self.path, source, outputs=outputs, device=device)


class OnnxSession:
    """A model that is ready to run; ``run`` may be called from several threads at once."""

    def __init__(
        self, path: Path, source: str | bytes, *, outputs: Sequence[str], device: str
    ) -> None:
        self.path = path
        self.device = resolve_device(device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if self.device == "cpu":
            options.intra_op_num_threads = 1
        providers = [CUDA, CPU] if self.device == "cuda" else [CPU]
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise DataError(f"ONNX Runtime cannot load {path}: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._outputs = list(outputs)

    def run(self, array: Float32) -> list[Float32]:
        """The outputs, in the order in which they were asked for, for an (N, 3, h, w) input."""
        results = self._session.run(self._outputs, {self._input: array})
        return [np.asarray(result) for result in results]


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        MissingDependencyError: for ``cuda`` where ONNX Runtime has no CUDA provider.
    """
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if device == "auto":
        return "cuda" if has_cuda else "cpu"
    if device == "cuda" and not has_cuda:
        raise MissingDependencyError(
            "the installed ONNX Runtime cannot use CUDA",
            "`pip uninstall onnxruntime && pip install onnxruntime-gpu`, or --device cpu",
        )
    return device


def _info(value: onnx.ValueInfoProto) -> TensorInfo:
    shape = value.type.tensor_type.shape
    return TensorInfo(value.name, tuple(size.dim_value or None for size in shape.dim))


def _not_onnx(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not an ONNX model: {reason}", "name an ONNX file, or copy it again"
    )
