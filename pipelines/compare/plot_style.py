"""How plots look: colours that all can tell apart, sizes, and texts that keep to their room."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from weaksup.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by all kinds of colour vision, and a marker each: two lines
# differ in print, too. Source: Okabe and Ito, Color Universal Design, 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, INK = "#8A8A8A", "#222222"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.minor.bottom": False,
    "ytick.minor.left": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    # A label is the user's own words: a dollar sign in it is one.
    "text.parse_math": False,
    "svg.fonttype": "none",
    # The same figures give the same file.
    "svg.hashsalt": "weaksup",
}
DPI = 200
# In points.
NAME_SIZE, NOTE_SIZE = 8.5, 7
LINE_SPACING = 1.2
# What text gains where its letters are fitted to pixels.
FITTING = 1.02
# In inches, between texts and the edges of a figure.
EDGE = 0.08


@contextmanager
def styled() -> Iterator[None]:
    """Make and save figures in this style, whatever the user's matplotlibrc says.

    With LaTeX, other fonts or cut margins the texts would not have the room that is reckoned.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def look(number: int) -> tuple[str, str]:
    """Colour and marker of a line; the first 49 differ."""
    turn = number // len(COLOURS)
    return COLOURS[number % len(COLOURS)], MARKERS[(number + turn) % len(MARKERS)]


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """The width in inches of one line of text; ``size`` is in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width: float = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    return width / 72 * FITTING


def lines_height(count: int, size: float) -> float:
    """The height in inches of so many lines of text; ``size`` is in points."""
    return count * size * LINE_SPACING / 72


def wrapped(text: str, width: float, size: float, *, bold: bool = False) -> list[str]:
    """Lines of a text that are no wider than ``width`` inches; ``size`` is in points.

    A word that is wider by itself is broken.
    """
    for characters in range(max(1, len(text)), 0, -1):
        lines = textwrap.wrap(text, characters) or [""]
        if max(text_width(line, size, bold=bold) for line in lines) <= width:
            return lines
    return lines  # a letter each, wider than the room


def draw_note(figure: Figure, lines: Collection[str]) -> None:
    """Put the lines of a note in small type at the foot of a figure."""
    width, height = figure.get_size_inches()
    figure.text(
        EDGE / width,
        EDGE / height,
        "\n".join(lines),
        fontsize=NOTE_SIZE,
        linespacing=LINE_SPACING,
        va="bottom",
    )


def seeds_in_words(counts: Collection[int]) -> str:
    """``one seed``, ``3 seeds``, ``2 to 3 seeds``: of lines or bars with so many each."""
    least, most = min(counts), max(counts)
    if most == 1:
        return "one seed"
    return counted(most, "seed") if least == most else f"{least} to {most} seeds"


def with_seeds(label: str, counts: Collection[int]) -> str:
    """A label on one line; it says so where there was one seed, and so no spread."""
    name = " ".join(label.split())
    return f"{name} (one seed)" if max(counts) == 1 else name
