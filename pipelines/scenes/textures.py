"""Backgrounds: pictures of surfaces, made of noise and simple patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image

from weaksup.types import Float32


def clouds(rng: np.random.Generator, *, height: int, width: int, cells: tuple[int, int]) -> Float32:
    """Smooth noise, (H, W) float32 in [0, 1].

    Args:
        cells: rows and columns of the random grid that is enlarged: more cells, finer noise.
    """
    grid = rng.integers(0, 256, size=cells, dtype=np.uint8)
    smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32) / np.float32(255)


def _mix(share: Float32, first: tuple[int, int, int], second: tuple[int, int, int]) -> Float32:
    """Colours between two, (H, W, 3) float32, by ``share`` (H, W)."""
    start = np.array(first, dtype=np.float32)
    step = np.array(second, dtype=np.float32) - start
    return start + share[..., None] * step


def grass(rng: np.random.Generator, height: int, width: int) -> Float32:
    """Upright blades on a patchy lawn."""
    patches = clouds(rng, height=height, width=width, cells=(4, 5))
    blades = clouds(rng, height=height, width=width, cells=(height // 7, width // 2))
    return _mix(0.5 * patches + 0.5 * blades, (50, 98, 40), (138, 186, 88))


def sand(rng: np.random.Generator, height: int, width: int) -> Float32:
    """Dunes with grain."""
    dunes = clouds(rng, height=height, width=width, cells=(7, 3))
    grain = rng.random((height, width), dtype=np.float32)
    return _mix(0.65 * dunes + 0.35 * grain, (186, 156, 104), (238, 216, 166))


def water(rng: np.random.Generator, height: int, width: int) -> Float32:
    """Flat waves."""
    swell = clouds(rng, height=height, width=width, cells=(12, 4))
    ripples = clouds(rng, height=height, width=width, cells=(height // 4, 8))
    return _mix(0.5 * swell + 0.5 * ripples, (24, 82, 122), (116, 180, 208))


def night(rng: np.random.Generator, height: int, width: int) -> Float32:
    """A dark sky with points of light."""
    haze = clouds(rng, height=height, width=width, cells=(4, 4))
    sky = _mix(haze, (10, 12, 36), (44, 40, 86))
    lights = 40
    rows, columns = rng.integers(0, height, lights), rng.integers(0, width, lights)
    sky[rows, columns] = rng.integers(150, 250, size=(lights, 1))
    return sky


def brick(rng: np.random.Generator, height: int, width: int) -> Float32:
    """Courses of bricks, each of its own shade, with pale joints."""
    tall, wide = int(rng.integers(11, 16)), int(rng.integers(24, 34))
    rows = np.arange(height)[:, None] // tall
    columns = (np.arange(width)[None, :] + (rows % 2) * (wide // 2)) // wide
    shades = rng.random((height // tall + 1, width // wide + 2), dtype=np.float32)
    wall = _mix(shades[rows, columns], (128, 60, 46), (178, 96, 74))
    wall[np.arange(height) % tall < 2] = (186, 178, 168)
    upright = (np.arange(width)[None, :] + (rows % 2) * (wide // 2)) % wide < 2
    wall[upright] = (186, 178, 168)
    return wall


def wood(rng: np.random.Generator, height: int, width: int) -> Float32:
    """Planks with a lengthwise grain."""
    grain = clouds(rng, height=height, width=width, cells=(height // 3, 4))
    tall = int(rng.integers(22, 34))
    shades = rng.random(height // tall + 1, dtype=np.float32)[np.arange(height) // tall]
    planks = _mix(0.6 * grain + 0.4 * shades[:, None], (112, 72, 40), (184, 134, 86))
    planks[np.arange(height) % tall == 0] = (70, 44, 26)
    return planks


def snow(rng: np.random.Generator, height: int, width: int) -> Float32:
    """Soft drifts in blue shade."""
    drifts = clouds(rng, height=height, width=width, cells=(5, 3))
    return _mix(drifts, (196, 208, 224), (250, 252, 255))


def sky(rng: np.random.Generator, height: int, width: int) -> Float32:
    """White clouds before blue."""
    large = clouds(rng, height=height, width=width, cells=(5, 4))
    small = clouds(rng, height=height, width=width, cells=(12, 10))
    share: Float32 = np.clip((0.65 * large + 0.35 * small - 0.42) * 4, 0, 1)
    return _mix(share, (104, 162, 222), (240, 244, 248))


# background -> picture (H, W, 3) float32 with values in 0..255.
TEXTURES: Mapping[str, Callable[[np.random.Generator, int, int], Float32]] = MappingProxyType(
    {
        "grass": grass,
        "sand": sand,
        "water": water,
        "night": night,
        "brick": brick,
        "wood": wood,
        "snow": snow,
        "sky": sky,
    }
)
