"""Region features from a torchvision classification network by name (``--feature-model``).

Letters: N images, M regions of one image, D feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.mnasnet import MNASNet
from torchvision.models.regnet import RegNet
from torchvision.models.resnet import ResNet
from torchvision.models.shufflenetv2 import ShuffleNetV2
from torchvision.models.swin_transformer import SwinTransformer

from weaksup.detectors import roi_align
from weaksup.detectors.base import PooledRegions
from weaksup.detectors.preprocess import Recipe, network_input, zoom
from weaksup.detectors.torch_device import resolve_device, resolve_precision
from weaksup.detectors.torchvision_weights import fetch_published, read_state
from weaksup.errors import UsageError, did_you_mean
from weaksup.types import Float32, Image, Provenance

# Families whose last map has rows and columns. Vision transformers of the plain kind and networks
# of other tasks have none that could be pooled.
FAMILIES = (
    "convnext",
    "densenet",
    "efficientnet",
    "mnasnet",
    "mobilenet",
    "regnet",
    "resnet",
    "resnext",
    "shufflenet",
    "swin",
    "vgg",
    "wide_resnet",
)


def names() -> list[str]:
    """The networks that can be asked for."""
    return [name for name in list_models(module=models) if name.startswith(FAMILIES)]


class TorchvisionFeatureModel:
    """A torchvision backbone with its published ImageNet weights.

    Args:
        name: one of ``names()``.
        size: height and width of the input in pixels.
        device: ``auto`` or a torch device.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        UsageError: if the name is unknown.
        DataError: if the weights file is damaged.
        MissingDependencyError: if the weights are not here and cannot be fetched.
    """

    concurrent = False

    def __init__(
        self, name: str, *, size: int = 448, device: str = "auto", precision: str = "auto"
    ) -> None:
        if name not in names():
            nearest = did_you_mean(name, names())
            raise UsageError(
                f"'{name}' is neither an ONNX file nor a torchvision backbone"
                + (f": {nearest}" if nearest else ""),
                f"known backbones: {', '.join(names())}",
            )
        weights = get_model_weights(name).DEFAULT
        path, digest = fetch_published(weights.url)
        model: nn.Module = get_model(name, weights=None)
        model.load_state_dict(read_state(path))
        self._device = resolve_device(device)
        self._dtype = resolve_precision(precision, device=self._device)
        self._model = backbone(model).eval().requires_grad_(False).to(self._device)
        transforms = weights.transforms()
        self._recipe = Recipe(
            size=(size, size),
            scale=1 / 255,
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
        )
        self._feature_size = self._maps(torch.zeros(1, 3, size, size)).shape[1]
        self._provenance = Provenance(
            detector=f"torchvision:{name}",
            weights_sha256=digest,
            settings={
                "size": size,
                "precision": str(self._dtype).removeprefix("torch."),
                "bins": roi_align.BINS,
            },
        )

    @property
    def feature_size(self) -> int:
        return self._feature_size

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    @property
    def classes(self) -> Sequence[str]:
        return ()

    @property
    def class_slots(self) -> int:
        return 0

    def pool(self, images: Sequence[Image], boxes: Sequence[Float32]) -> list[PooledRegions]:
        """Region features of each image, from one forward pass."""
        if not images:
            return []
        inputs = np.concatenate([network_input(image.pixels, self._recipe) for image in images])
        maps = self._maps(torch.from_numpy(inputs)).float().cpu().numpy()
        result = []
        for image, features, rows in zip(images, maps, boxes, strict=True):
            size = (image.pixels.shape[0], image.pixels.shape[1])
            factors = np.array(zoom(self._recipe, size=size) * 2, dtype=np.float32)
            means = roi_align.average(features, rows * factors, size=self._recipe.size)
            result.append(PooledRegions.without_classes(means))
        return result

    @torch.inference_mode()
    def _maps(self, pixels: Tensor) -> Tensor:
        enabled = self._dtype != torch.float32
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=enabled):
            maps: Tensor = self._model(pixels.to(self._device))
            return maps


def backbone(model: nn.Module) -> nn.Module:
    """The part of a classifier that gives its last feature map, (N, 3, H, W) to (N, D, h, w).

    Args:
        model: of one of ``FAMILIES``.
    """
    parts: Any = model  # its parts are attributes that nn.Module does not declare
    if isinstance(model, SwinTransformer):
        return nn.Sequential(parts.features, parts.norm, parts.permute)
    if isinstance(model, ResNet):
        return nn.Sequential(*list(model.children())[:-2])
    if isinstance(model, RegNet):
        return nn.Sequential(parts.stem, parts.trunk_output)
    if isinstance(model, ShuffleNetV2):
        return nn.Sequential(*list(model.children())[:-1])
    result: nn.Module = parts.layers if isinstance(model, MNASNet) else parts.features
    return result
