"""RoI-Align averaged over the box, as one matrix product a feature map.

RoI-Align (He et al., "Mask R-CNN", ICCV 2017, section 3) samples a grid of points inside the box
by bilinear interpolation and averages them in bins. Here the bins are averaged as well, so what
is left is a weighted sum over the cells of the map. Grid and interpolation are both products of a
horizontal and a vertical part: so are the weights, and M boxes cost two small tables and one
(M, H*W) x (H*W, D) product, with no loop over boxes. ONNX Runtime computes it, on one thread:
numpy's own product starts as many threads as there are processors, from every thread that calls
it, and these then spend their time waiting for one another.

Letters: M boxes, D channels, H and W rows and columns of the feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, ValueInfoProto, helper

from weaksup.types import Float32

# Bins a side. Samples a bin adapt to the box, as torchvision's `sampling_ratio=0` does it.
BINS = 3


def average(features: Float32, boxes: Float32, *, size: tuple[int, int]) -> Float32:
    """Average one feature map over boxes; see ``average_maps``."""
    return average_maps([features], boxes, size=size)[0]


def average_maps(
    maps: Sequence[Float32],
    boxes: Float32,
    *,
    size: tuple[int, int],
    grids: Sequence[Float32] = (),
) -> list[Float32]:
    """Average feature maps over boxes.

    The result is that of ``torchvision.ops.roi_align(..., output_size=3, sampling_ratio=0,
    aligned=True)`` averaged over its nine bins, up to rounding.

    Args:
        maps: each (D, H, W) float32, with any D, H and W.
        boxes: (M, 4) float32, x1 y1 x2 y2 in pixels of the picture that the maps cover.
        size: height and width of that picture in pixels.
        grids: more maps that have their channels last, (H, W, D) float32.

    Returns:
        (M, D) float32 for each map, then for each grid.
    """
    cells = [(m.shape[1], m.shape[2]) for m in maps] + [(g.shape[0], g.shape[1]) for g in grids]
    kinds = list(dict.fromkeys(cells))
    inputs: dict[str, Float32] = {}
    for kind, (height, width) in enumerate(kinds):
        x1, y1, x2, y2 = boxes.T
        inputs[f"rows{kind}"] = axis_weights(y1, y2, cells=height, scale=height / size[0])
        inputs[f"columns{kind}"] = axis_weights(x1, x2, cells=width, scale=width / size[1])
    # Views: nothing is copied on the way into the products.
    for place, features in enumerate(maps):
        inputs[f"map{place}"] = features.reshape(len(features), -1)
    for place, features in enumerate(grids, start=len(maps)):
        inputs[f"map{place}"] = features.reshape(-1, features.shape[-1])
    session = _session(tuple(kinds.index(shape) for shape in cells), len(maps))
    results: list[Float32] = session.run(None, inputs)
    return results


def axis_weights(low: Float32, high: Float32, *, cells: int, scale: float) -> Float32:
    """What each cell of one axis contributes to each box's average.

    Args:
        low: (M,) float32, where the boxes begin on this axis, in pixels.
        high: (M,) float32, where they end.
        cells: how many cells the axis has.
        scale: cells a pixel.

    Returns:
        (M, cells) float32; a row sums to 1.
    """
    start = low * np.float32(scale) - np.float32(0.5)
    length = (high - low) * np.float32(scale)
    samples = BINS * np.maximum(np.ceil(length / BINS), 1).astype(np.int64)
    step = np.arange(samples.max(initial=1), dtype=np.float32)
    # (M, S) positions of the samples, beyond a box's own number of samples with weight 0.
    positions = start[:, None] + (step + np.float32(0.5)) * (length / samples)[:, None].astype(
        np.float32
    )
    positions = np.clip(positions, 0, cells - 1)
    share = np.where(step < samples[:, None], 1 / samples[:, None], 0).astype(np.float32)
    # Bilinear interpolation on one axis: a triangle around each sample.
    distance = np.abs(positions[:, :, None] - np.arange(cells, dtype=np.float32))
    triangle = np.maximum(np.float32(1) - distance, 0)
    result: Float32 = np.matmul(share[:, None, :], triangle)[:, 0]
    return result


@cache
def _session(kinds: tuple[int, ...], channels_first: int) -> onnxruntime.InferenceSession:
    """The products of all maps in one graph, so that a picture takes one call.

    Args:
        kinds: for each map, which pair of weight tables it takes; maps of one size share a pair.
        channels_first: how many of the maps, the first ones, are (D, H*W); the others (H*W, D).
    """
    nodes, inputs, outputs = [], [], []
    for kind in sorted(set(kinds)):
        names = f"rows{kind}", f"columns{kind}"
        inputs += [_matrix(name) for name in names]
        nodes += [
            helper.make_node("Unsqueeze", [names[0], "two"], [f"tall{kind}"]),
            helper.make_node("Unsqueeze", [names[1], "one"], [f"wide{kind}"]),
            helper.make_node("Mul", [f"tall{kind}", f"wide{kind}"], [f"grid{kind}"]),
            helper.make_node("Flatten", [f"grid{kind}"], [f"weights{kind}"], axis=1),
        ]
    for place, kind in enumerate(kinds):
        inputs.append(_matrix(f"map{place}"))
        outputs.append(_matrix(f"mean{place}"))
        operands = [f"weights{kind}", f"map{place}"]
        transposed = int(place < channels_first)
        nodes.append(helper.make_node("Gemm", operands, [f"mean{place}"], transB=transposed))
    axes = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in _AXES]
    graph = helper.make_graph(nodes, "averages", inputs, outputs, initializer=axes)
    # The oldest versions that have all this: any ONNX Runtime that we allow reads them.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


_AXES = (("one", 1), ("two", 2))


def _matrix(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None])
