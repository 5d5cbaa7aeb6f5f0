"""How each kind of object looks: one function a kind, in the unit square."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pipelines.scenes.pen import Pen, Point


def _ring(
    count: int, *, radius: float, start: float = -math.pi / 2, centre: Point = (0.5, 0.5)
) -> list[Point]:
    """``count`` points on a circle, the first at the angle ``start`` (radians)."""
    angles = [start + 2 * math.pi * i / count for i in range(count)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def ball(pen: Pen) -> None:
    """A sphere with a highlight and a seam."""
    pen.ellipse(0.02, 0.02, 0.98, 0.98)
    pen.line([(0.06, 0.55), (0.3, 0.68), (0.7, 0.68), (0.94, 0.55)], "shade", thickness=0.06)
    pen.ellipse(0.24, 0.16, 0.46, 0.38, "light", edge=False)


def boat(pen: Pen) -> None:
    """A hull with a mast and two sails."""
    pen.line([(0.5, 0.02), (0.5, 0.75)], "bark", thickness=0.04)
    pen.polygon([(0.54, 0.05), (0.54, 0.62), (0.92, 0.62)], "light")
    pen.polygon([(0.46, 0.16), (0.46, 0.62), (0.14, 0.62)], "light")
    pen.polygon([(0.0, 0.7), (1.0, 0.7), (0.82, 1.0), (0.18, 1.0)])


def box(pen: Pen) -> None:
    """A cube seen from a corner."""
    pen.polygon([(0.0, 0.24), (0.3, 0.0), (1.0, 0.0), (0.72, 0.24)], "light")
    pen.polygon([(0.72, 0.24), (1.0, 0.0), (1.0, 0.74), (0.72, 1.0)], "shade")
    pen.rectangle(0.0, 0.24, 0.72, 1.0)


def car(pen: Pen) -> None:
    """A saloon from the side."""
    pen.polygon([(0.2, 0.45), (0.33, 0.04), (0.68, 0.04), (0.84, 0.45)])
    pen.polygon([(0.29, 0.42), (0.37, 0.15), (0.49, 0.15), (0.49, 0.42)], "glass")
    pen.polygon([(0.54, 0.42), (0.54, 0.15), (0.65, 0.15), (0.74, 0.42)], "glass")
    pen.polygon([(0.0, 0.5), (0.08, 0.42), (0.94, 0.42), (1.0, 0.54), (1.0, 0.8), (0.0, 0.8)])
    for x in (0.13, 0.65):
        pen.ellipse(x, 0.6, x + 0.22, 1.0, "rubber", edge=False)
        pen.ellipse(x + 0.07, 0.72, x + 0.15, 0.88, "metal", edge=False)


def cup(pen: Pen) -> None:
    """A mug with its handle on the right."""
    pen.line(
        [(0.7, 0.32), (0.93, 0.36), (0.94, 0.6), (0.68, 0.72)],
        "shade",
        thickness=0.1,
    )
    pen.polygon([(0.02, 0.12), (0.76, 0.12), (0.68, 0.98), (0.1, 0.98)])
    pen.ellipse(0.02, 0.02, 0.76, 0.24, "light")


def fish(pen: Pen) -> None:
    """A fish that swims to the left."""
    pen.polygon([(0.66, 0.5), (1.0, 0.1), (0.94, 0.5), (1.0, 0.92)], "shade")
    pen.polygon([(0.3, 0.2), (0.46, 0.0), (0.62, 0.24)], "shade")
    pen.ellipse(0.0, 0.12, 0.78, 0.9)
    pen.line([(0.3, 0.3), (0.36, 0.52), (0.3, 0.74)], "shade", thickness=0.04)
    pen.ellipse(0.12, 0.34, 0.22, 0.48, "rubber", edge=False)


def flower(pen: Pen) -> None:
    """A stem, two leaves and six petals."""
    pen.line([(0.5, 0.4), (0.5, 0.99)], "leaf", thickness=0.08)
    pen.polygon([(0.5, 0.9), (0.16, 0.68), (0.3, 0.9)], "leaf", edge=False)
    pen.polygon([(0.5, 0.9), (0.84, 0.68), (0.7, 0.9)], "leaf", edge=False)
    for x, y in _ring(6, radius=0.24, centre=(0.5, 0.36)):
        pen.ellipse(x - 0.18, y - 0.13, x + 0.18, y + 0.13)
    pen.ellipse(0.38, 0.27, 0.62, 0.45, "pollen", edge=False)


def house(pen: Pen) -> None:
    """A gabled front with a door, two windows and a chimney."""
    pen.rectangle(0.7, 0.06, 0.84, 0.4, "shade")
    pen.rectangle(0.08, 0.42, 0.92, 1.0)
    pen.polygon([(0.0, 0.46), (0.5, 0.02), (1.0, 0.46)], "shade")
    pen.rectangle(0.4, 0.64, 0.6, 1.0, "bark")
    pen.rectangle(0.16, 0.56, 0.33, 0.76, "glass")
    pen.rectangle(0.67, 0.56, 0.84, 0.76, "glass")


def kite(pen: Pen) -> None:
    """A diamond with a cross and a tail."""
    pen.line([(0.5, 0.7), (0.62, 0.8), (0.42, 0.88), (0.56, 0.99)], "edge", thickness=0.05)
    pen.polygon([(0.5, 0.0), (0.98, 0.28), (0.5, 0.74), (0.02, 0.28)])
    pen.polygon([(0.5, 0.02), (0.94, 0.28), (0.5, 0.28)], "light", edge=False)
    pen.polygon([(0.06, 0.28), (0.5, 0.28), (0.5, 0.72)], "shade", edge=False)


def ladder(pen: Pen) -> None:
    """Two rails and six rungs."""
    for i in range(6):
        y = 0.1 + 0.155 * i
        pen.line([(0.1, y), (0.9, y)], "main", thickness=0.12)
    pen.rectangle(0.02, 0.0, 0.2, 1.0)
    pen.rectangle(0.8, 0.0, 0.98, 1.0)


def star(pen: Pen) -> None:
    """A star of five points."""
    outer = _ring(5, radius=0.52, centre=(0.5, 0.53))
    inner = _ring(5, radius=0.22, start=-math.pi / 2 + math.pi / 5, centre=(0.5, 0.53))
    pen.polygon([point for pair in zip(outer, inner, strict=True) for point in pair])


def tree(pen: Pen) -> None:
    """A crown of round tufts on a trunk."""
    pen.rectangle(0.42, 0.6, 0.58, 1.0, "bark")
    pen.ellipse(0.0, 0.26, 0.54, 0.74, "shade")
    pen.ellipse(0.46, 0.26, 1.0, 0.74, "shade")
    pen.ellipse(0.16, 0.0, 0.84, 0.64)
    pen.ellipse(0.3, 0.1, 0.52, 0.28, "light", edge=False)


# kind -> (how to draw it, width / height, largest tilt in degrees).
SHAPES: Mapping[str, tuple[Callable[[Pen], None], float, float]] = MappingProxyType(
    {
        "ball": (ball, 1.0, 25.0),
        "boat": (boat, 1.1, 8.0),
        "box": (box, 1.0, 6.0),
        "car": (car, 1.8, 6.0),
        "cup": (cup, 1.05, 8.0),
        "fish": (fish, 1.6, 15.0),
        "flower": (flower, 0.75, 12.0),
        "house": (house, 1.1, 3.0),
        "kite": (kite, 0.8, 20.0),
        "ladder": (ladder, 0.45, 12.0),
        "star": (star, 1.0, 20.0),
        "tree": (tree, 0.85, 5.0),
    }
)
