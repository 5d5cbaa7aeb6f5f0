"""Attribute words for regions when the detector has none: colour, size and position.

Colours are the eleven basic colour terms of Berlin and Kay ("Basic Color Terms", 1969). A pixel
takes the term of its nearest focal colour in CIELAB (CIE 15:2004; sRGB by IEC 61966-2-1, white
point D65) by the Euclidean distance there (CIE 1976). The focal colours are keywords of CSS Color
Level 4 that speakers file under that term. A region takes a term when enough of its points agree.

Only numpy, no state that changes: safe to call from threads. Letters: M regions, H and W height
and width in pixels, P points sampled in a region, C colours.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from weaksup.types import Float32, Int32, UInt8

# Raise it whenever `describe` gives another answer for the same pixels: stores record it.
VERSION = 1

_FOCAL_COLOURS = {
    "black": ("000000", "1c1c1c"),
    "white": ("ffffff", "f5f5f5", "dcdcdc", "c0c0c0"),
    "grey": ("696969", "808080", "708090"),
    "red": ("ff0000", "dc143c", "b22222", "8b0000"),
    "orange": ("ffa500", "ff8c00", "ff4500"),
    "yellow": ("ffff00", "ffd700", "f0e68c"),
    "green": ("008000", "00ff00", "006400", "6b8e23", "556b2f", "9acd32", "2e8b57", "8fbc8f"),
    "blue": ("0000ff", "000080", "4169e1", "4682b4", "87ceeb", "add8e6", "008b8b", "191970"),
    "purple": ("800080", "4b0082", "9400d3", "9370db", "da70d6"),
    "pink": ("ffc0cb", "ff69b4", "ff1493", "db7093"),
    "brown": ("8b4513", "a0522d", "cd853f", "d2b48c", "bc8f8f", "5c3317"),
}
COLOURS = tuple(_FOCAL_COLOURS)
SIZES = ("small", "large")
POSITIONS = ("left", "right", "top", "bottom")

ATTRIBUTES: tuple[str, ...] = COLOURS + SIZES + POSITIONS
SLOTS = 5  # two colours, a size, a place from left to right, a place from top to bottom

_GRID = 16  # points a side sampled from the middle of a box
# The share of its points that earns a region the term. People name a small vivid patch (a red
# shirt) and overlook a lot of shadow, skin, fur and grass, so these need more. Set on 2,000
# photographs by how often the captions of the image say the word, too.
_VIVID = 0.2
_SHARES = {"black": 0.4, "white": 0.3, "grey": 0.6, "green": 0.4, "brown": 0.4}
_SMALL, _LARGE = 0.04, 0.36  # share of the image's area
_NEAR, _FAR = 1 / 3, 2 / 3  # where a box's centre is no longer in the middle
_WHOLE = 0.99  # a box that covers this share of both sides is the image itself
_BITS = 5  # of each channel that the colour table keeps: steps of 8 out of 256


def describe(pixels: UInt8, boxes: Float32) -> Int32:
    """Name the colour, the relative size and the position of each box.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        boxes: (M, 4) float32, x1 y1 x2 y2 in pixels of ``pixels``; they may leave the image.

    Returns:
        (M, SLOTS) int32, rows of ``ATTRIBUTES``: up to two colours (the surer first), a size,
        positions; then -1 as padding. A box that is the whole image has no size and no position:
        it is the frame that those words refer to.
    """
    count = len(boxes)
    slots = np.full((count, SLOTS), -1, np.int32)
    if count == 0:
        return slots
    height, width = pixels.shape[:2]
    x1, x2 = np.clip(boxes[:, 0::2].T / width, 0, 1)
    y1, y2 = np.clip(boxes[:, 1::2].T / height, 0, 1)
    slots[:, :2] = _colours(pixels, x1, y1, x2, y2)
    slots[:, 2] = _choose((x2 - x1) * (y2 - y1), _SMALL, _LARGE, SIZES)
    slots[:, 3] = _choose((x1 + x2) / 2, _NEAR, _FAR, POSITIONS[:2])
    slots[:, 4] = _choose((y1 + y2) / 2, _NEAR, _FAR, POSITIONS[2:])
    slots[(x2 - x1 >= _WHOLE) & (y2 - y1 >= _WHOLE), 2:] = -1
    # A stable sort moves the padding to the end and keeps the order of the words.
    order = np.argsort(slots < 0, axis=1, kind="stable")
    return np.take_along_axis(slots, order, axis=1)


def _choose(
    value: npt.NDArray[np.floating], low: float, high: float, words: tuple[str, ...]
) -> Int32:
    """(M,) int32: the row of the first word below ``low``, of the second above ``high``."""
    first, second = (ATTRIBUTES.index(word) for word in words)
    return np.where(value < low, first, np.where(value > high, second, -1)).astype(np.int32)


def _colours(
    pixels: UInt8,
    x1: npt.NDArray[np.floating],
    y1: npt.NDArray[np.floating],
    x2: npt.NDArray[np.floating],
    y2: npt.NDArray[np.floating],
) -> Int32:
    """(M, 2) int32: the colours of the central half of each box, sides as fractions."""
    height, width = pixels.shape[:2]
    steps = 0.25 + 0.5 * (np.arange(_GRID, dtype=np.float32) + 0.5) / _GRID
    columns = ((x1[:, None] + (x2 - x1)[:, None] * steps) * width).astype(np.intp)  # (M, GRID)
    rows = ((y1[:, None] + (y2 - y1)[:, None] * steps) * height).astype(np.intp)
    np.clip(columns, 0, width - 1, out=columns)
    np.clip(rows, 0, height - 1, out=rows)
    samples = pixels[rows[:, :, None], columns[:, None, :]] >> (8 - _BITS)  # (M, GRID, GRID, 3)
    red, green, blue = np.moveaxis(samples.astype(np.intp), -1, 0)
    names = _table()[(red << 2 * _BITS) | (green << _BITS) | blue].reshape(len(x1), -1)  # (M, P)
    regions = np.arange(len(x1))
    cells = (names + regions[:, None] * len(COLOURS)).ravel()
    counts = np.bincount(cells, minlength=len(x1) * len(COLOURS)).reshape(len(x1), -1)  # (M, C)
    needed = [_SHARES.get(name, _VIVID) for name in COLOURS]
    strength = counts / (names.shape[1] * np.array(needed))
    best = np.argsort(-strength, axis=1, kind="stable")[:, :2]
    return np.where(np.take_along_axis(strength, best, axis=1) >= 1, best, -1).astype(np.int32)


@cache
def _table() -> npt.NDArray[np.intp]:
    """(8 ** _BITS,) rows of ``COLOURS``: the term of every colour at ``_BITS`` bits a channel."""
    levels = (np.arange(1 << _BITS) + 0.5) * (256 / (1 << _BITS)) / 255
    cells = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    focal = [(row, code) for row, name in enumerate(COLOURS) for code in _FOCAL_COLOURS[name]]
    points = np.array([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for _, code in focal])
    distances = ((_lab(cells)[:, None] - _lab(points)[None]) ** 2).sum(-1)  # (cells, focal)
    terms: npt.NDArray[np.intp] = np.array([row for row, _ in focal], np.intp)
    nearest: npt.NDArray[np.intp] = terms[np.argmin(distances, axis=1)]
    return nearest


def _lab(srgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(K, 3) sRGB in [0, 1] to (K, 3) CIELAB: L* in [0, 100], a*, b*."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(1)  # the rows sum to the white point D65
    delta = 6 / 29
    f = np.where(xyz > delta**3, np.cbrt(xyz), xyz / (3 * delta**2) + 4 / 29)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )
