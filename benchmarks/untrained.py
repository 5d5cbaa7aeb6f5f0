"""Faster R-CNN models of full size with random weights, which find about as much as trained ones.

What a detector costs depends on how many boxes it finds, not on which. Nothing is fetched, and the
same weights come out every time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from weaksup.types import UInt8

TORCHVISION = "fasterrcnn_resnet50_fpn"
DETECTRON2 = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
SCORE_THRESHOLD = 0.2
# Proposals of an image that score more than the threshold, before suppression.
OVER = 60
SPREAD = 3.0  # of class scores before the softmax
WIDTH = 640


def write_pictures(folder: Path, *, count: int, height: int) -> None:
    """``count`` JPEG pictures of coloured blocks."""
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(picture(number, height=height)).save(path, quality=90)


def picture(seed: int, *, height: int) -> UInt8:
    """(height, 640, 3) uint8; the height is a multiple of 32."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 256, (height // 32, WIDTH // 32, 3), np.uint8)
    return np.ascontiguousarray(blocks.repeat(32, axis=0).repeat(32, axis=1))


def save_torchvision(path: Path, *, height: int) -> Sequence[str]:
    """Write weights for pictures of a height.

    Returns:
        The names of the classes, the background first.
    """
    torch.manual_seed(0)
    model = get_model(TORCHVISION, weights=None, weights_backbone=None).eval()
    labels: Sequence[str] = get_model_weights(TORCHVISION).DEFAULT.meta["categories"]
    for name, module in model.named_modules():
        if name.endswith("bn3"):
            nn.init.constant_(module.weight, 0.3)
    pixels = torch.from_numpy(picture(0, height=height)).permute(2, 0, 1).float() / 255
    predictor: Any = model.roi_heads.box_predictor
    _calibrate(predictor, lambda: model([pixels]), background=0)
    torch.save(model.state_dict(), path)
    return labels


def save_detectron2(path: Path, *, height: int) -> None:
    """Write weights of ``DETECTRON2`` for pictures of a height."""
    from detectron2.config import get_cfg
    from detectron2.model_zoo import get_config_file

    config = get_cfg()
    config.merge_from_file(get_config_file(DETECTRON2))
    save_configured(path, config, height=height)


def save_configured(path: Path, config: Any, *, height: int, spread: float = SPREAD) -> None:
    """Write weights of a configuration of detectron2.

    Args:
        config: a ``CfgNode``; its device becomes the CPU.
        height: of the pictures.
        spread: of class scores before the softmax; more classes need more.
    """
    from detectron2.layers import FrozenBatchNorm2d
    from detectron2.modeling import build_model

    torch.manual_seed(0)
    config.MODEL.DEVICE = "cpu"
    model: Any = build_model(config).eval()
    for place, module in model.named_modules():
        if isinstance(module, FrozenBatchNorm2d):
            # Pixels come in 0 to 255.
            module.weight.fill_(0.01 if "stem" in place else 0.3 if "conv3" in place else 1)
    pixels = torch.from_numpy(picture(0, height=height)).permute(2, 0, 1).float()
    _calibrate(
        model.roi_heads.box_predictor,
        lambda: model.inference([{"image": pixels}]),
        background=config.MODEL.ROI_HEADS.NUM_CLASSES,
        spread=spread,
    )
    torch.save({"model": model.state_dict()}, path)


@torch.no_grad()
def _calibrate(
    predictor: Any, run: Callable[[], object], *, background: int, spread: float = SPREAD
) -> None:
    """Stretch the class scores, and favour the background, until few boxes score enough."""
    seen: list[Tensor] = []
    hook = predictor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    run()
    hook.remove()
    layer = predictor.cls_score
    # The outputs of an untrained head have a common part, which would choose the same class always.
    inner = seen[0].flatten(1)
    layer.bias.zero_()
    scores = layer(inner)
    layer.weight.mul_(spread / scores.std(0).mean())
    layer.bias.copy_(-layer(inner).mean(0))
    nn.init.normal_(predictor.bbox_pred.weight, std=0.3 / float(inner.norm(dim=1).mean()))
    scores = layer(inner)
    while True:
        chances = scores.softmax(1)
        chances[:, background] = 0
        if int((chances > SCORE_THRESHOLD).sum()) <= OVER:
            break
        scores[:, background] += 0.25
        layer.bias[background] += 0.25
