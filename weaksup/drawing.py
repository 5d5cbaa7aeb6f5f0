"""What pictures of results share: colours, letters, boxes with names. Pillow alone draws.

Sizes are in pixels of the finished picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

RGB: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

TITLE, TEXT, SMALL, LABEL = 34, 24, 17, 15
LINE_WIDTH = 3
INK: RGB = (28, 30, 34)
MUTED: RGB = (108, 114, 124)
RULE: RGB = (222, 225, 230)
PAPER: RGB = (255, 255, 255)
MAT: RGB = (243, 244, 246)
# Told apart on most backgrounds, and white letters are legible on each.
BOX_COLOURS: tuple[RGB, ...] = (
    (200, 30, 60),
    (24, 92, 200),
    (132, 50, 160),
    (176, 84, 0),
    (0, 116, 112),
    (84, 84, 92),
)


@dataclass(frozen=True)
class NamedBox:
    """What was found in a picture.

    Attributes:
        box: x1 y1 x2 y2 as fractions of width and height.
        name: the words beside it.
        score: how sure they are, in [0, 1]; None where that is not told.
    """

    box: tuple[float, float, float, float]
    name: str
    score: float | None = None


def font(size: int) -> Font:
    """The letters of all pictures, which come with Pillow."""
    return ImageFont.load_default(size=size)


def fitted(picture: Image.Image, *, width: int, height: int) -> Image.Image:
    """A picture, as large as fits, never without pixels."""
    scale = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def colour(number: int) -> RGB:
    """The colour of the box that is drawn as the ``number``-th, from 0."""
    return BOX_COLOURS[number % len(BOX_COLOURS)]


def pixels(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box in pixels of a picture of width and height ``size``."""
    x1, x2 = (round(x * (size[0] - 1)) for x in box[0::2])
    y1, y2 = (round(y * (size[1] - 1)) for y in box[1::2])
    return x1, y1, x2, y2


def draw_boxes(picture: Image.Image, boxes: Sequence[NamedBox]) -> None:
    """Draw boxes and their names into a picture."""
    draw = ImageDraw.Draw(picture)
    places = []
    for number, found in enumerate(boxes):
        box = pixels(found.box, picture.size)
        draw.rectangle(box, outline=colour(number), width=LINE_WIDTH)
        places.append((found.name, box, colour(number)))
    # After all boxes: no line may run through a name.
    taken: list[tuple[int, int, int, int]] = []
    for name, box, tone in places:
        taken.append(_tag(draw, name, box, tone, limits=picture.size, taken=taken))


def _tag(
    draw: ImageDraw.ImageDraw,
    name: str,
    box: tuple[int, int, int, int],
    tone: RGB,
    *,
    limits: tuple[int, int],
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Write a name at a box: above it, below it or inside, where no other name stands."""
    letters = font(LABEL)
    width, height = round(draw.textlength(name, font=letters)) + 10, LABEL + 6
    x = min(max(box[0], 0), max(limits[0] - width, 0))
    choices = (box[1] - height + 1, box[3] - 1, box[1], box[3] - height)
    tags = [(x, y, x + width, y + height) for y in choices if 0 <= y <= limits[1] - height]
    free = [tag for tag in tags if not any(_meet(tag, other) for other in taken)]
    # A picture lower than a name has no place for it, and gets it at its top.
    tag = (free or tags or [(x, 0, x + width, height)])[0]
    draw.rectangle((tag[0], tag[1], tag[2] - 1, tag[3] - 1), fill=tone)
    middle = (tag[1] + tag[3]) / 2
    draw.text((tag[0] + 5, middle), name, font=letters, fill=PAPER, anchor="lm")
    return tag


def _meet(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    across = min(first[2], second[2]) > max(first[0], second[0])
    return across and min(first[3], second[3]) > max(first[1], second[1])


def wrapped(text: str, *, letters: Font, width: int) -> list[str]:
    """Lines of words that are as wide as fits; a word that is wider stands alone."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if letters.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def shortened(text: str, *, letters: Font, width: float) -> str:
    """A text with its end left out, where it is too wide."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"
