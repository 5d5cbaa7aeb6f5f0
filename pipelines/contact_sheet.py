"""Search results as one picture: thumbnails in a grid, with rank, score and id.

Sizes are in pixels of the finished picture. Pillow alone draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from weaksup.drawing import INK, MAT, MUTED, PAPER, Font, fitted, font, wrapped
from weaksup.images import UnreadableImage, decode
from weaksup.wording import decimals

COLUMNS = 5
THUMB = 240
GAP = 24
MARGIN = 40
LABEL_HEIGHT = 52
TITLE, TEXT = 28, 16
TITLE_SPACE = 16


@dataclass(frozen=True)
class Cell:
    """One result.

    Attributes:
        file: the picture; None if it was not found.
        name: the image's id.
        score: its similarity.
    """

    file: Path | None
    name: str
    score: float


def draw_contact_sheet(cells: Sequence[Cell], *, title: str) -> Image.Image:
    """The whole picture, RGB: the best result first, row by row.

    Args:
        cells: in the order of their ranks.
        title: what was searched for; it is wrapped.
    """
    columns = max(1, min(COLUMNS, len(cells)))
    rows = -(-len(cells) // columns)
    # Room for a title even over a single result.
    width = 2 * MARGIN + max(columns, 2) * (THUMB + GAP) - GAP
    lines = [
        _shortened(line, letters=font(TITLE), width=width - 2 * MARGIN)
        for line in wrapped(title, letters=font(TITLE), width=width - 2 * MARGIN)
    ]
    top = MARGIN + len(lines) * (TITLE + 8) + TITLE_SPACE
    height = top + rows * (THUMB + LABEL_HEIGHT + GAP) - GAP + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        y = MARGIN + number * (TITLE + 8)
        draw.text((MARGIN, y), line, font=font(TITLE), fill=INK)
    for place, cell in enumerate(cells):
        x = MARGIN + place % columns * (THUMB + GAP)
        y = top + place // columns * (THUMB + LABEL_HEIGHT + GAP)
        draw.rectangle((x, y, x + THUMB - 1, y + THUMB - 1), fill=MAT)
        picture = _thumbnail(cell.file)
        if picture is None:
            middle = (x + THUMB // 2, y + THUMB // 2)
            draw.text(middle, "no picture file", font=font(TEXT), fill=MUTED, anchor="mm")
        else:
            corner = (x + (THUMB - picture.width) // 2, y + (THUMB - picture.height) // 2)
            sheet.paste(picture, corner)
        draw.text((x, y + THUMB + 8), f"{place + 1}", font=font(TEXT), fill=INK)
        score = (x + THUMB, y + THUMB + 8)
        draw.text(score, decimals(cell.score, 3), font=font(TEXT), fill=INK, anchor="ra")
        name = _shortened(cell.name, letters=font(TEXT), width=THUMB)
        draw.text((x, y + THUMB + 30), name, font=font(TEXT), fill=MUTED)
    return sheet


def _thumbnail(file: Path | None) -> Image.Image | None:
    if file is None:
        return None
    try:
        pixels, _ = decode(file)
    except UnreadableImage:
        return None
    return fitted(Image.fromarray(pixels), width=THUMB, height=THUMB)


def _shortened(text: str, *, letters: Font, width: int) -> str:
    """``text`` with its middle left out where it is wider than ``width`` pixels."""
    if letters.getlength(text) <= width:
        return text
    kept = len(text) - 1
    while kept > 2:
        kept -= 1
        half = kept // 2
        short = f"{text[: kept - half]}…{text[len(text) - half :]}"
        if letters.getlength(short) <= width:
            return short
    return "…"
