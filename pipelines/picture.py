"""One picture of what a model sees and finds: scenes with named boxes beside search results.

Sizes are in pixels of the finished picture. Pillow alone draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

RGB: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

MARGIN = 56
HEADER = 148
FOOTER = 56
# A row: the scene on the left; the sentence, its results and their captions on the right.
SCENE = (416, 320)
RESULT = 208
RESULT_GAP = 24
COLUMN_GAP = 56
ROW_GAP = 52

TITLE, TEXT, SMALL, LABEL = 34, 24, 17, 15
INK: RGB = (28, 30, 34)
MUTED: RGB = (108, 114, 124)
RULE: RGB = (222, 225, 230)
PAPER: RGB = (255, 255, 255)
MAT: RGB = (243, 244, 246)
CORRECT: RGB = (22, 148, 64)
# Told apart on all backgrounds of the scenes, and white letters are legible on each.
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
    """What was found in a scene.

    Attributes:
        box: x1 y1 x2 y2 as fractions of width and height.
        name: the words beside it.
    """

    box: tuple[float, float, float, float]
    name: str


@dataclass(frozen=True)
class Example:
    """One row: a scene, a sentence about it, and what the sentence finds.

    Attributes:
        scene: the picture file that the sentence is about.
        boxes: what was found in it.
        sentence: the query; there is space for two lines.
        results: picture files, the best first; ``scene`` may be among them.
        rank: of ``scene`` among all pictures that were searched, from 1.
    """

    scene: Path
    boxes: tuple[NamedBox, ...]
    sentence: str
    results: tuple[Path, ...]
    rank: int


def draw_examples(examples: Sequence[Example], *, title: str, subtitle: str) -> Image.Image:
    """The whole picture, RGB.

    Args:
        examples: a row each.
        title: one line.
        subtitle: one line below it.
    """
    columns = max((len(example.results) for example in examples), default=1)
    right = columns * (RESULT + RESULT_GAP) - RESULT_GAP
    width = 2 * MARGIN + SCENE[0] + COLUMN_GAP + right
    height = HEADER + len(examples) * (SCENE[1] + ROW_GAP) + FOOTER
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, 56), title, font=_font(TITLE), fill=INK, anchor="ls")
    draw.text((MARGIN, 90), subtitle, font=_font(SMALL), fill=MUTED, anchor="ls")
    found_x = MARGIN + SCENE[0] + COLUMN_GAP
    for x, heading in ((MARGIN, "what the detector sees"), (found_x, "what a sentence finds")):
        draw.text((x, HEADER - 16), heading, font=_font(SMALL), fill=INK, anchor="ls")
    for row, example in enumerate(examples):
        top = HEADER + row * (SCENE[1] + ROW_GAP)
        if row:
            line = top - ROW_GAP // 2
            draw.line((MARGIN, line, width - MARGIN - 1, line), fill=RULE, width=1)
        canvas.paste(_scene(example), (MARGIN, top))
        canvas.paste(_findings(example, width=right), (found_x, top))
    note = "Green: the picture that the sentence was written about."
    draw.text((MARGIN, height - FOOTER + 20), note, font=_font(SMALL), fill=MUTED, anchor="ls")
    return canvas


def _font(size: int) -> Font:
    return ImageFont.load_default(size=size)


def _fitted(path: Path, *, width: int, height: int) -> Image.Image:
    """A picture file, as large as fits."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    scale = min(width / picture.width, height / picture.height)
    size = round(picture.width * scale), round(picture.height * scale)
    return picture.resize(size, Image.Resampling.LANCZOS)


def _scene(example: Example) -> Image.Image:
    cell = Image.new("RGB", SCENE, MAT)
    picture = _fitted(example.scene, width=SCENE[0], height=SCENE[1])
    draw = ImageDraw.Draw(picture)
    places = []
    for number, found in enumerate(example.boxes):
        colour = BOX_COLOURS[number % len(BOX_COLOURS)]
        x1, x2 = (round(x * (picture.width - 1)) for x in found.box[0::2])
        y1, y2 = (round(y * (picture.height - 1)) for y in found.box[1::2])
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=3)
        places.append((found.name, (x1, y1, x2, y2), colour))
    # After all boxes: no line may run through a name.
    taken: list[tuple[int, int, int, int]] = []
    for name, box, colour in places:
        taken.append(_tag(draw, name, box, colour, limits=picture.size, taken=taken))
    cell.paste(picture, ((SCENE[0] - picture.width) // 2, (SCENE[1] - picture.height) // 2))
    return cell


def _tag(
    draw: ImageDraw.ImageDraw,
    name: str,
    box: tuple[int, int, int, int],
    colour: RGB,
    *,
    limits: tuple[int, int],
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Write a name at a box: above it, below it or inside, where no other name stands."""
    font = _font(LABEL)
    width, height = round(draw.textlength(name, font=font)) + 10, LABEL + 6
    x = min(max(box[0], 0), max(limits[0] - width, 0))
    choices = (box[1] - height + 1, box[3] - 1, box[1], box[3] - height)
    tags = [(x, y, x + width, y + height) for y in choices if 0 <= y <= limits[1] - height]
    free = [tag for tag in tags if not any(_meet(tag, other) for other in taken)]
    tag = (free or tags)[0]
    draw.rectangle((tag[0], tag[1], tag[2] - 1, tag[3] - 1), fill=colour)
    middle = (tag[1] + tag[3]) / 2
    draw.text((tag[0] + 5, middle), name, font=font, fill=PAPER, anchor="lm")
    return tag


def _meet(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    across = min(first[2], second[2]) > max(first[0], second[0])
    return across and min(first[3], second[3]) > max(first[1], second[1])


def _findings(example: Example, *, width: int) -> Image.Image:
    area = Image.new("RGB", (width, SCENE[1]), PAPER)
    draw = ImageDraw.Draw(area)
    lines = _wrapped(f"“{example.sentence}”", font=_font(TEXT), width=width)
    top = SCENE[1] - RESULT - 32
    for number, line in enumerate(reversed(lines)):
        y = top - 22 - number * (TEXT + 6)
        draw.text((0, y), line, font=_font(TEXT), fill=INK, anchor="ls")
    for place, path in enumerate(example.results):
        correct = path == example.scene
        x = place * (RESULT + RESULT_GAP)
        draw.rectangle((x, top, x + RESULT - 1, top + RESULT - 1), fill=MAT)
        picture = _fitted(path, width=RESULT, height=RESULT)
        corner = (x + (RESULT - picture.width) // 2, top + (RESULT - picture.height) // 2)
        area.paste(picture, corner)
        if correct:
            draw.rectangle((x, top, x + RESULT - 1, top + RESULT - 1), outline=CORRECT, width=6)
        caption = f"{place + 1}  correct" if correct else f"{place + 1}"
        colour = CORRECT if correct else MUTED
        draw.text((x, SCENE[1] - 6), caption, font=_font(SMALL), fill=colour, anchor="ls")
    if example.scene not in example.results:
        note = f"correct: rank {example.rank:,}"
        draw.text((width, SCENE[1] - 6), note, font=_font(SMALL), fill=MUTED, anchor="rs")
    return area


def _wrapped(text: str, *, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
