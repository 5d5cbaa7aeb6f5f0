"""The detector of the demo: a small Faster R-CNN of our own, with its weights in the package.

About a million parameters for pictures of about 200 pixels. It is built of torchvision's parts and
goes through the same adapter as torchvision's own models. ``pipelines/train_demo_detector.py``
made the weights from generated scenes; nothing in it was learned from photographs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from weaksup.detectors.torchvision import TorchvisionDetector
from weaksup.detectors.torchvision_weights import BACKGROUND
from weaksup.files import sha256

FOLDER = Path(__file__).parent
WEIGHTS, LABELS = "demo.safetensors", "demo.json"

# Shortest and longest side of the network's input, in pixels: the scenes are not resized.
MIN_SIDE, MAX_SIDE = 160, 208
FEATURE_SIZE = 256
PYRAMID_CHANNELS = 64
STAGE_CHANNELS = (32, 64, 96)
# One anchor side a pyramid level (strides 4, 8, 16), in pixels.
ANCHOR_SIDES = ((26,), (46,), (76,))
ANCHOR_RATIOS = (0.55, 1.0, 1.7)
BINS = 5
# Boxes of this side are pooled from the last level, half as large ones from the level before.
CANONICAL_SIDE = 72


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., CVPR 2016)."""

    def __init__(self, *, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, stride=stride)
        self.second = _convolution(outputs, outputs, stride=1)
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(self.first(x).relu())
        result: Tensor = (inner + self.shortcut(x)).relu()
        return result


def _convolution(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    )


class DemoBackbone(nn.Module):
    """A stem, three residual stages and a feature pyramid over them.

    ``forward`` takes (B, 3, H, W) float32 and returns three maps of ``out_channels`` channels at
    strides 4, 8 and 16, named "0", "1" and "2".
    """

    out_channels = PYRAMID_CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, 24, stride=2), nn.ReLU())
        inputs = (24, *STAGE_CHANNELS)
        self.stages = nn.ModuleList(
            _Block(inputs=before, outputs=after, stride=2)
            for before, after in zip(inputs, STAGE_CHANNELS, strict=False)
        )
        self.pyramid = FeaturePyramidNetwork(list(STAGE_CHANNELS), PYRAMID_CHANNELS)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        maps = {}
        for level, stage in enumerate(self.stages):
            x = stage(x)
            maps[str(level)] = x
        result: dict[str, Tensor] = self.pyramid(maps)
        return result


def build_demo_model(labels: Sequence[str]) -> FasterRCNN:
    """The architecture with random weights.

    Args:
        labels: what the detector names; class 0 of the model is the background, class ``i + 1`` is
            ``labels[i]``.
    """
    levels = [str(level) for level in range(len(STAGE_CHANNELS))]
    return FasterRCNN(
        DemoBackbone(),
        min_size=MIN_SIDE,
        max_size=MAX_SIDE,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
        rpn_anchor_generator=AnchorGenerator(ANCHOR_SIDES, (ANCHOR_RATIOS,) * len(levels)),
        rpn_pre_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_train=120,
        rpn_post_nms_top_n_test=60,
        rpn_batch_size_per_image=64,
        box_roi_pool=MultiScaleRoIAlign(
            levels, output_size=BINS, sampling_ratio=2, canonical_scale=CANONICAL_SIDE
        ),
        box_head=TwoMLPHead(PYRAMID_CHANNELS * BINS**2, FEATURE_SIZE),
        box_predictor=FastRCNNPredictor(FEATURE_SIZE, len(labels) + 1),
        box_batch_size_per_image=32,
        box_detections_per_img=50,
        size_divisible=16,
    )


def load_demo_detector(
    *,
    folder: Path = FOLDER,
    with_features: bool = True,
    score_threshold: float = 0.2,
    min_regions: int = 10,
    max_regions: int = 36,
    device: str = "auto",
    precision: str = "auto",
) -> TorchvisionDetector:
    """The detector with its packaged weights.

    Args:
        folder: where ``demo.safetensors`` and ``demo.json`` are.

    The other arguments are those of ``TorchvisionDetector``.
    """
    weights = folder / WEIGHTS
    labels: list[str] = json.loads((folder / LABELS).read_text())["objects"]
    model = build_demo_model(labels)
    model.load_state_dict(load_file(weights))
    return TorchvisionDetector(
        model=model,
        labels=[BACKGROUND, *labels],
        name="demo",
        weights_sha256=sha256(weights),
        with_features=with_features,
        score_threshold=score_threshold,
        min_regions=min_regions,
        max_regions=max_regions,
        device=device,
        precision=precision,
    )
