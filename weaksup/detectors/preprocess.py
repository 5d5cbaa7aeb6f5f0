"""From a picture to what a network reads.

Letters: H and W rows and columns of the picture, h and w of the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from weaksup.types import Float32, UInt8

STRETCH, LETTERBOX = "stretch", "letterbox"
RGB, BGR = "rgb", "bgr"


@dataclass(frozen=True)
class Recipe:
    """How pixels become a network's input: ``(pixel * scale - mean) / std``.

    Attributes:
        size: height and width in pixels.
        channels: ``rgb`` or ``bgr``.
        scale: applied first; 1 leaves 0..255.
        mean: one number a channel, in the order of ``channels``.
        std: likewise.
        resize: ``stretch`` to the whole input, or ``letterbox``: keep the proportions and pad
            on the right and at the bottom.
        pad: grey level of the padding, 0 to 255.
    """

    size: tuple[int, int]
    channels: str = RGB
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: str = STRETCH
    pad: int = 114


def zoom(recipe: Recipe, *, size: tuple[int, int]) -> tuple[float, float]:
    """Input pixels a picture pixel: along the width, along the height.

    Args:
        recipe: of the network.
        size: height and width of the picture in pixels.
    """
    width, height = _resized(recipe, size=size)
    return width / size[1], height / size[0]


def network_input(pixels: UInt8, recipe: Recipe) -> Float32:
    """Resize, reorder and normalise a picture.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        recipe: what the network wants.

    Returns:
        (1, 3, h, w) float32.
    """
    width, height = _resized(recipe, size=(pixels.shape[0], pixels.shape[1]))
    # torch throughout: it lets other threads run meanwhile, which numpy does not.
    picture = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    if (height, width) != pixels.shape[:2]:
        # The pixels that Pillow's bilinear resize gives, in a fraction of its time.
        picture = F.interpolate(picture, size=(height, width), mode="bilinear", antialias=True)
    if recipe.channels == BGR:
        picture = picture.flip(1)
    if (height, width) == recipe.size:
        target = picture.to(torch.float32, memory_format=torch.contiguous_format)
    else:
        target = torch.full((1, 3, *recipe.size), float(recipe.pad))
        target[:, :, :height, :width] = picture
    for channel, (mean, std) in enumerate(zip(recipe.mean, recipe.std, strict=True)):
        if (recipe.scale, mean, std) != (1.0, 0.0, 1.0):
            target[0, channel].mul_(recipe.scale / std).sub_(mean / std)
    result: Float32 = target.numpy()
    return result


def _resized(recipe: Recipe, *, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the picture inside the network's input."""
    height, width = recipe.size
    if recipe.resize == STRETCH:
        return width, height
    ratio = min(height / size[0], width / size[1])
    return max(1, round(size[1] * ratio)), max(1, round(size[0] * ratio))
