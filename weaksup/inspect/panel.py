"""A column of headings, notes and bars beside a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import ImageDraw

from weaksup.drawing import INK, MAT, MUTED, RGB, SMALL, font, shortened, wrapped

WIDTH = 420
_BAR = 110
_VALUE = 62
_SWATCH = 12
_GAP = 18
_LINE = 26
_NOTE_LINE = 21
_NOTE = 15


class Block(Protocol):
    """Something of the column's width."""

    def height(self) -> int: ...

    def draw(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> None: ...


@dataclass(frozen=True)
class Heading:
    """Begins a part of the column."""

    text: str

    def height(self) -> int:
        return _GAP + _LINE + 6

    def draw(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        draw.text((x, y + _GAP + 20), self.text, font=font(SMALL + 2), fill=INK, anchor="ls")


@dataclass(frozen=True)
class Note:
    """Small text of several lines."""

    text: str

    def _lines(self) -> list[str]:
        return wrapped(self.text, letters=font(_NOTE), width=WIDTH)

    def height(self) -> int:
        return _NOTE_LINE * len(self._lines()) + 4

    def draw(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        for number, line in enumerate(self._lines()):
            place = (x, y + 16 + number * _NOTE_LINE)
            draw.text(place, line, font=font(_NOTE), fill=MUTED, anchor="ls")


@dataclass(frozen=True)
class Bar:
    """A name, a bar, a figure.

    Attributes:
        name: on the left.
        value: on the right, as it is written.
        share: length of the bar, in [0, 1].
        tone: of the bar, and of a square before the name if there is one.
        swatch: whether there is one.
        muted: whether the name is written in grey.
    """

    name: str
    value: str
    share: float
    tone: RGB
    swatch: bool = False
    muted: bool = False

    def height(self) -> int:
        return _LINE

    def draw(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        left = x + (_SWATCH + 8 if self.swatch else 0)
        if self.swatch:
            draw.rectangle((x, y + 7, x + _SWATCH - 1, y + 6 + _SWATCH), fill=self.tone)
        letters = font(SMALL)
        bar = x + WIDTH - _VALUE - _BAR
        name = shortened(self.name, letters=letters, width=bar - left - 12)
        ink = MUTED if self.muted else INK
        draw.text((left, y + 13), name, font=letters, fill=ink, anchor="lm")
        draw.rectangle((bar, y + 8, bar + _BAR - 1, y + 17), fill=MAT)
        length = round(_BAR * min(max(self.share, 0.0), 1.0))
        if length:
            draw.rectangle((bar, y + 8, bar + length - 1, y + 17), fill=self.tone)
        draw.text((x + WIDTH, y + 13), self.value, font=letters, fill=INK, anchor="rm")


def column_height(blocks: list[Block]) -> int:
    return sum(block.height() for block in blocks)


def draw_column(draw: ImageDraw.ImageDraw, blocks: list[Block], x: int, y: int) -> None:
    """Draw blocks below one another; ``y`` is the upper edge."""
    for block in blocks:
        block.draw(draw, x, y)
        y += block.height()
