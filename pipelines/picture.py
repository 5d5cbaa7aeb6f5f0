"""One picture of what a model sees and finds: scenes with named boxes beside search results.

Sizes are in pixels of the finished picture. Pillow alone draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from weaksup.drawing import (
    INK,
    MAT,
    MUTED,
    PAPER,
    RGB,
    RULE,
    SMALL,
    TEXT,
    TITLE,
    NamedBox,
    draw_boxes,
    fitted,
    font,
    wrapped,
)

MARGIN = 56
HEADER = 148
FOOTER = 56
# A row: the scene on the left; the sentence, its results and their captions on the right.
SCENE = (416, 320)
RESULT = 208
RESULT_GAP = 24
COLUMN_GAP = 56
ROW_GAP = 52

CORRECT: RGB = (22, 148, 64)


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
    draw.text((MARGIN, 56), title, font=font(TITLE), fill=INK, anchor="ls")
    draw.text((MARGIN, 90), subtitle, font=font(SMALL), fill=MUTED, anchor="ls")
    found_x = MARGIN + SCENE[0] + COLUMN_GAP
    for x, heading in ((MARGIN, "what the detector sees"), (found_x, "what a sentence finds")):
        draw.text((x, HEADER - 16), heading, font=font(SMALL), fill=INK, anchor="ls")
    for row, example in enumerate(examples):
        top = HEADER + row * (SCENE[1] + ROW_GAP)
        if row:
            line = top - ROW_GAP // 2
            draw.line((MARGIN, line, width - MARGIN - 1, line), fill=RULE, width=1)
        canvas.paste(_scene(example), (MARGIN, top))
        canvas.paste(_findings(example, width=right), (found_x, top))
    note = "Green: the picture that the sentence was written about."
    draw.text((MARGIN, height - FOOTER + 20), note, font=font(SMALL), fill=MUTED, anchor="ls")
    return canvas


def _opened(path: Path, *, width: int, height: int) -> Image.Image:
    with Image.open(path) as file:
        return fitted(file.convert("RGB"), width=width, height=height)


def _scene(example: Example) -> Image.Image:
    cell = Image.new("RGB", SCENE, MAT)
    picture = _opened(example.scene, width=SCENE[0], height=SCENE[1])
    draw_boxes(picture, example.boxes)
    cell.paste(picture, ((SCENE[0] - picture.width) // 2, (SCENE[1] - picture.height) // 2))
    return cell


def _findings(example: Example, *, width: int) -> Image.Image:
    area = Image.new("RGB", (width, SCENE[1]), PAPER)
    draw = ImageDraw.Draw(area)
    lines = wrapped(f"“{example.sentence}”", letters=font(TEXT), width=width)
    top = SCENE[1] - RESULT - 32
    for number, line in enumerate(reversed(lines)):
        y = top - 22 - number * (TEXT + 6)
        draw.text((0, y), line, font=font(TEXT), fill=INK, anchor="ls")
    for place, path in enumerate(example.results):
        correct = path == example.scene
        x = place * (RESULT + RESULT_GAP)
        draw.rectangle((x, top, x + RESULT - 1, top + RESULT - 1), fill=MAT)
        picture = _opened(path, width=RESULT, height=RESULT)
        corner = (x + (RESULT - picture.width) // 2, top + (RESULT - picture.height) // 2)
        area.paste(picture, corner)
        if correct:
            draw.rectangle((x, top, x + RESULT - 1, top + RESULT - 1), outline=CORRECT, width=6)
        caption = f"{place + 1}  correct" if correct else f"{place + 1}"
        colour = CORRECT if correct else MUTED
        draw.text((x, SCENE[1] - 6), caption, font=font(SMALL), fill=colour, anchor="ls")
    if example.scene not in example.results:
        note = f"correct: rank {example.rank:,}"
        draw.text((width, SCENE[1] - 6), note, font=font(SMALL), fill=MUTED, anchor="rs")
    return area
