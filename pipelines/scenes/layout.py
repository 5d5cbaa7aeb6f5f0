"""Which objects a scene has and where they stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.scenes.shapes import SHAPES
from pipelines.scenes.words import COLOURS, KINDS, SIZES

# Height of an object of each size, in pixels: from, to. The gaps keep the words true.
HEIGHTS = {"small": (24, 32), "medium": (40, 54), "large": (66, 88)}
MAX_OBJECTS = 5
# At most this share of the smaller of two boxes lies inside the other: covered objects must
# still be recognisable.
MAX_OVERLAP = 0.35
TRIES = 12


@dataclass(frozen=True)
class Place:
    """An object before it is drawn; the box is the space that it may fill, in pixels."""

    kind: str
    colour: str
    size: str
    box: tuple[int, int, int, int]


def overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """The intersection of two boxes as a share of the smaller one, 0 to 1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / min(areas)


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _kinds(rng: np.random.Generator) -> list[tuple[str, str]]:
    """Kinds and colours of the objects; in some scenes one kind comes two or three times."""
    count = int(rng.integers(1, MAX_OBJECTS + 1))
    colours = tuple(COLOURS)
    chosen = [(_choose(rng, KINDS), _choose(rng, colours)) for _ in range(count)]
    if count > 1 and rng.random() < 0.35:
        copies = int(rng.integers(2, min(3, count) + 1))
        chosen[:copies] = [chosen[0]] * copies
    return chosen


def _place(rng: np.random.Generator, *, kind: str, colour: str, height: int, width: int) -> Place:
    size = _choose(rng, tuple(SIZES))
    tall = int(rng.integers(HEIGHTS[size][0], HEIGHTS[size][1] + 1))
    aspect = SHAPES[kind][1] * rng.uniform(0.88, 1.14)
    if aspect > 1:  # Wide objects keep their area, not their height.
        tall = round(tall / aspect**0.5)
    wide = round(tall * aspect)
    x = int(rng.integers(0, width - wide + 1))
    y = int(rng.integers(0, height - tall + 1))
    return Place(kind=kind, colour=colour, size=size, box=(x, y, x + wide, y + tall))


def arrange(rng: np.random.Generator, *, height: int, width: int) -> list[Place]:
    """Objects and their places, in the order of drawing; at least one.

    An object that finds no place where it overlaps the others little enough is left out.
    """
    places: list[Place] = []
    for kind, colour in _kinds(rng):
        for _ in range(TRIES):
            place = _place(rng, kind=kind, colour=colour, height=height, width=width)
            if all(overlap(place.box, other.box) <= MAX_OVERLAP for other in places):
                places.append(place)
                break
    return places
