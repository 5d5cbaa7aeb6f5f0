"""What models read: padded regions, standardised by the training images.

Letters: B images, R regions of the image with most, D feature width, G geometry width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

GEOMETRY_SIZE = 5


@dataclass(frozen=True)
class RegionInputs:
    """Padded regions of a batch of images; region 0 is the whole image.

    Attributes:
        features: (B, R, D) float32, signed square roots of those in the store.
        boxes: (B, R, 4) float32, x1 y1 x2 y2 as fractions of width and height.
        mask: (B, R) bool, true where there is a region.
    """

    features: Tensor
    boxes: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device) -> RegionInputs:
        return RegionInputs(
            self.features.to(device, non_blocking=True),
            self.boxes.to(device, non_blocking=True),
            self.mask.to(device, non_blocking=True),
        )

    def pin_memory(self) -> RegionInputs:
        return RegionInputs(
            self.features.pin_memory(), self.boxes.pin_memory(), self.mask.pin_memory()
        )


def geometry(boxes: Tensor) -> Tensor:
    """x1 y1 x2 y2 and area: (B, R, 4) -> (B, R, 5)."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0)
    return torch.cat((boxes, size.prod(-1, keepdim=True)), dim=-1)


class Standardizer(nn.Module):
    """Features to zero mean and unit variance, channel by channel.

    The statistics are buffers: they travel in the checkpoint. They come from the training images
    alone (``set``); unstandardised features collapse the hardest-negative loss.

    Args:
        size: D.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def set(self, mean: Tensor, deviation: Tensor) -> None:
        """Take (D,) statistics; channels that never vary are left at their mean."""
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, regions: RegionInputs) -> RegionInputs:
        """The same regions with standardised features, padding left at 0."""
        features = self.scale(regions.features).mul_(regions.mask.unsqueeze(-1))
        return replace(regions, features=features)

    def scale(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return (features - self.mean).div_(self.deviation)
