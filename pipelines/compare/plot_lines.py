"""Recall over the share of captioned images: a panel a recall, a line a label.

Sizes are in inches, and every part has a place of its own: no text can run into another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipelines.compare.plan import percent
from pipelines.compare.plot_spacing import apart
from pipelines.compare.plot_style import (
    EDGE,
    LINE_SPACING,
    NAME_SIZE,
    NOTE_SIZE,
    draw_note,
    lines_height,
    look,
    seeds_in_words,
    text_width,
    with_seeds,
    wrapped,
)
from pipelines.compare.summary import NAMES, Direction, Row, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH, PLOT_HEIGHT = 10.2, 2.5
PITCH = WIDTH / len(NAMES)  # from one panel to the next
HEAD, FOOT = 0.56, 0.48  # above the axes: both titles; below: ticks and the axis' title
TICKS = 0.38  # left of the axes
X_TITLE, X_SIZE = "captioned images (%)", 9
BESIDE, BESIDE_NAMED = 0.15, 0.14  # right of the axes, without names and beside their room
MOST_NAMES = 12  # more would not fit above one another
NAME_GAP = 0.062  # between names at the ends of lines, of the axes' height
HANDLE = 0.5  # a line with its marker and the space to the next column
TICK_GAP = 0.04  # between names of ratios, at least
LEGEND_SPACING = 0.5  # between names, of the size of their letters


def draw_lines(
    figure: Figure,
    summary: Summary,
    lines: Sequence[Sequence[Row]],
    direction: Direction,
    title: str,
) -> None:
    """Draw lines, with a band of one standard deviation to each side.

    Args:
        figure: empty; it gets the size that is needed.
        summary: that the lines are from.
        lines: the rows of each label, by ratio; two or more.
        direction: of the recalls.
        title: of the figure.
    """
    names = [with_seeds(rows[0].label, [len(row.seeds) for row in rows]) for rows in lines]
    at_ends = _fit_at_ends(lines, names)
    legend = [] if at_ends else _legend_names(names)
    note = wrapped(_note(summary, lines), WIDTH - 2 * EDGE, NOTE_SIZE)
    legend_height = _legend_height(legend)
    below = 2 * EDGE + lines_height(len(note), NOTE_SIZE) + legend_height
    height = HEAD + PLOT_HEIGHT + FOOT + below
    figure.set_size_inches(WIDTH, height)
    figure.text(*(EDGE / WIDTH, 1 - EDGE / height, title), fontsize=11, fontweight="bold", va="top")
    plot_width = PITCH - TICKS - (BESIDE_NAMED + _widest(names) if at_ends else BESIDE)
    for number, name in enumerate(NAMES):
        left, bottom = number * PITCH + TICKS, FOOT + below
        axes = figure.add_axes(
            (left / WIDTH, bottom / height, plot_width / WIDTH, PLOT_HEIGHT / height)
        )
        drawn = _draw_panel(axes, lines, direction, name)
        _draw_ratios(axes, sorted({row.ratio for rows in lines for row in rows}), plot_width)
        if at_ends:
            _name_ends(axes, drawn, names)
    if legend:
        _draw_legend(figure, drawn, legend, bottom=(below - legend_height) / height)
    draw_note(figure, note)


def _fit_at_ends(lines: Sequence[Sequence[Row]], names: Sequence[str]) -> bool:
    """Whether names have room at the ends of lines: beside them no line may go on."""
    room = PITCH - TICKS - BESIDE_NAMED - text_width(X_TITLE, X_SIZE)
    together = len({rows[-1].ratio for rows in lines}) == 1
    return together and _widest(names) <= room and len(names) <= MOST_NAMES


def _widest(names: Sequence[str]) -> float:
    """In inches; names may have line breaks."""
    return max(text_width(line, NAME_SIZE) for name in names for line in name.split("\n"))


def _note(summary: Summary, lines: Sequence[Sequence[Row]]) -> str:
    """What is drawn, of which images, and what the bands are."""
    several = [len(row.seeds) for rows in lines for row in rows if len(row.seeds) > 1]
    bands = "one seed, and so no bands"
    if several:
        bands = f"bands: one standard deviation of {seeds_in_words(several)}"
        if any(len(row.seeds) == 1 for rows in lines for row in rows):
            bands += ", none where there is one seed"
    ratios = {row.ratio for rows in lines for row in rows}
    crossed = any(
        low.ratio < ratio < high.ratio
        for rows in lines
        for low, high in pairwise(rows)
        for ratio in ratios
    )
    markers = "; lines have markers at the ratios that were measured" if crossed else ""
    return f"{summary.name}: recall on {summary.images}; {bands}{markers}"


def _draw_panel(
    axes: Axes, lines: Sequence[Sequence[Row]], direction: Direction, name: str
) -> list[Line2D]:
    """The lines of one recall, in the order that they came in."""
    drawn = []
    for number, rows in enumerate(lines):
        colour, marker = look(number)
        means = [row.recalls[direction][name].mean for row in rows]
        sds = [row.recalls[direction][name].sd for row in rows]
        ratios = [row.ratio for row in rows]
        _draw_band(axes, ratios, means, sds, colour)
        drawn += axes.plot(ratios, means, color=colour, marker=marker, markersize=4, linewidth=1.6)
    axes.set_title(f"{name} in percent", loc="left")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=6)
    return drawn


def _draw_ratios(axes: Axes, ratios: Sequence[float], width: float) -> None:
    """The axis of rising ratios; ``width`` is that of the axes in inches."""
    axes.set_xscale("log")
    axes.set_xticks(ratios, _ratio_names(ratios, width))
    axes.set_xticks([], minor=True)
    axes.set_xlabel(X_TITLE, fontsize=X_SIZE)


def _ratio_names(ratios: Sequence[float], width: float) -> list[str]:
    """Names of ticks in percent; one that would run into the next one's is empty."""
    names = [percent(ratio).removesuffix(" %") for ratio in ratios]
    inches = width / 1.1 / math.log(ratios[-1] / ratios[0])  # 1.1: matplotlib's margins
    end = math.inf
    for place in reversed(range(len(names))):
        middle, half = math.log(ratios[place]) * inches, text_width(names[place], X_SIZE) / 2
        if middle + half > end - TICK_GAP:
            names[place] = ""
        else:
            end = middle - half
    return names


def _draw_band(
    axes: Axes,
    x: Sequence[float],
    means: Sequence[float],
    sds: Sequence[float | None],
    colour: str,
) -> None:
    """One standard deviation to each side; a gap where there is none."""
    low = [math.nan if sd is None else mean - sd for mean, sd in zip(means, sds, strict=True)]
    high = [math.nan if sd is None else mean + sd for mean, sd in zip(means, sds, strict=True)]
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    # A band between two points needs both: alone, a point has an upright line.
    around = [None, *sds, None]
    for place, sd in enumerate(sds):
        if sd is not None and around[place] is None and around[place + 2] is None:
            axes.vlines(x[place], low[place], high[place], color=colour, alpha=0.35, linewidth=4)


def _legend_names(names: Sequence[str]) -> list[str]:
    """Names with line breaks: three columns fit beside one another."""
    most = (WIDTH - 2 * EDGE) / 3 - HANDLE
    return ["\n".join(wrapped(name, most, NAME_SIZE)) for name in names]


def _columns(names: Sequence[str]) -> int:
    return min(len(names), int((WIDTH - 2 * EDGE) / (_widest(names) + HANDLE)))


def _legend_height(names: Sequence[str]) -> float:
    """In inches; 0 without names."""
    if not names:
        return 0.0
    # As matplotlib deals them out.
    columns = np.array_split([name.count("\n") + 1 for name in names], _columns(names))
    return max(
        lines_height(column.sum(), NAME_SIZE) + len(column) * LEGEND_SPACING * NAME_SIZE / 72
        for column in columns
    )


def _draw_legend(
    figure: Figure, drawn: Sequence[Line2D], names: Sequence[str], *, bottom: float
) -> None:
    """Names below the panels, from ``bottom`` up, as a fraction of the figure's height."""
    legend = figure.legend(
        drawn,
        ["" for _ in names],  # filled in below: one that begins with _ would be left out
        loc="lower left",
        bbox_to_anchor=(EDGE / WIDTH, bottom),
        ncols=_columns(names),
        fontsize=NAME_SIZE,
        labelspacing=LEGEND_SPACING,
        columnspacing=1.2,
        handlelength=1.8,
        borderaxespad=0,
        borderpad=0,
        frameon=False,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
        text.set_linespacing(LINE_SPACING)


def _name_ends(axes: Axes, drawn: Sequence[Line2D], names: Sequence[str]) -> None:
    """Names beside the ends of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ends: list[tuple[float, float, int]] = []
    for number, line in enumerate(drawn):
        x, y = np.asarray(line.get_xydata())[-1].tolist()
        ends.append((x, y, number))
    ends.sort(key=lambda end: end[1:])
    gap = NAME_GAP * (high - low)
    places = apart([y for _, y, _ in ends], gap, low, high)
    for (x, y, number), place in zip(ends, places, strict=True):
        line = drawn[number]
        axes.annotate(
            names[number],
            xy=(x, y),
            xytext=(9, place),
            textcoords=("offset points", "data"),
            color=line.get_color(),
            fontsize=NAME_SIZE,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": line.get_color(),
                "linewidth": 0.5,
                "shrinkA": 0,
            },
        )
