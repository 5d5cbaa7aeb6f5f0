"""What a scene is made of."""

from __future__ import annotations

from dataclasses import dataclass

from weaksup.types import UInt8


@dataclass(frozen=True)
class SceneObject:
    """One drawn object.

    Attributes:
        kind: one of ``KINDS``.
        colour: a key of ``COLOURS``.
        size: a key of ``SIZES``.
        box: x1 y1 x2 y2 in pixels, right and bottom exclusive; the object's whole extent, also
            where another object covers it.
        depth: order of drawing, later objects cover earlier ones.
    """

    kind: str
    colour: str
    size: str
    box: tuple[int, int, int, int]
    depth: int

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box, x and y in pixels."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2


@dataclass(frozen=True)
class Scene:
    """A generated picture with what it shows.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        background: a key of ``BACKGROUNDS``.
        objects: in the order in which they were drawn, at least one.
        captions: five sentences.
    """

    image: UInt8
    background: str
    objects: tuple[SceneObject, ...]
    captions: tuple[str, ...]
