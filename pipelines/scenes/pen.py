"""A pen that draws in unit coordinates with colours named by their role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from PIL import Image, ImageDraw

RGB: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

# Sprites are drawn this many times larger and then averaged down: Pillow draws hard edges.
OVERSAMPLING = 3

FIXED_COLOURS: dict[str, RGB] = {
    "bark": (112, 74, 42),
    "leaf": (64, 128, 52),
    "glass": (176, 212, 232),
    "rubber": (38, 38, 40),
    "metal": (168, 170, 174),
    "pollen": (232, 180, 52),
}


def blend(first: RGB, second: RGB, share: float) -> RGB:
    """``first`` with ``share`` (0 to 1) of ``second`` mixed in."""
    mixed = [round(a + (b - a) * share) for a, b in zip(first, second, strict=True)]
    return mixed[0], mixed[1], mixed[2]


class Pen:
    """Draws shapes on a transparent canvas; the unit square is the whole canvas.

    Roles of colours: ``main``, ``light`` and ``shade`` (lighter and darker main), ``edge`` (an
    outline that shows on any background) and the names of ``FIXED_COLOURS``.

    Args:
        width, height: of the canvas, in pixels of the scene.
        main: the object's colour.
    """

    def __init__(self, *, width: int, height: int, main: RGB) -> None:
        self.width = width * OVERSAMPLING
        self.height = height * OVERSAMPLING
        self.canvas = Image.new("RGBA", (self.width, self.height), (*main, 0))
        self._draw = ImageDraw.Draw(self.canvas)
        # A dark outline would not show a black object at night.
        is_dark = sum(main) < 180
        self._colours: dict[str, RGB] = {
            "main": main,
            "light": blend(main, (255, 255, 255), 0.35),
            "shade": blend(main, (0, 0, 0), 0.3),
            "edge": (96, 96, 100) if is_dark else blend(main, (0, 0, 0), 0.6),
            **FIXED_COLOURS,
        }

    @property
    def _line(self) -> int:
        return max(2, round(0.022 * (self.width + self.height) / 2))

    def polygon(self, points: Sequence[Point], colour: str = "main", *, edge: bool = True) -> None:
        """A filled polygon."""
        scaled = [(x * (self.width - 1), y * (self.height - 1)) for x, y in points]
        self._draw.polygon(
            scaled,
            fill=self._colours[colour],
            outline=self._colours["edge"] if edge else None,
            width=self._line,
        )

    def rectangle(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = "main", *, edge: bool = True
    ) -> None:
        """A filled rectangle."""
        self.polygon(((x1, y1), (x2, y1), (x2, y2), (x1, y2)), colour, edge=edge)

    def ellipse(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = "main", *, edge: bool = True
    ) -> None:
        """A filled ellipse inside a rectangle."""
        w, h = self.width - 1, self.height - 1
        self._draw.ellipse(
            (x1 * w, y1 * h, x2 * w, y2 * h),
            fill=self._colours[colour],
            outline=self._colours["edge"] if edge else None,
            width=self._line,
        )

    def line(self, points: Sequence[Point], colour: str = "edge", *, thickness: float) -> None:
        """A line of ``thickness`` as a fraction of the canvas' width."""
        scaled = [(x * (self.width - 1), y * (self.height - 1)) for x, y in points]
        self._draw.line(
            scaled,
            fill=self._colours[colour],
            width=max(2, round(thickness * self.width)),
            joint="curve",
        )
