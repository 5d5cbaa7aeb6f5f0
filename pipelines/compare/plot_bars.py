"""Ablations: bars of what variants differ from the plain model by.

Sizes are in inches, and every part has a place of its own: no text can run into another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.compare.plan import percent
from pipelines.compare.plot_style import (
    COLOURS,
    EDGE,
    INK,
    NOTE_SIZE,
    draw_note,
    lines_height,
    seeds_in_words,
    text_width,
    with_seeds,
    wrapped,
)
from pipelines.compare.summary import Compared, Summary
from pipelines.compare.table import signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.8
LABEL_SIZE, TITLE_SIZE = 9, 10
MOST_LABEL = 2.8
BAR = 0.36  # from one bar to the next
TITLE_GAP = 0.12  # between a title and its axes, and above it
FOOT = 0.48  # below the last axes: ticks and the axis' title


def draw_bars(figure: Figure, summary: Summary, groups: Sequence[Sequence[Compared]]) -> None:
    """Draw a panel for each model and ratio, with the interval of each bar.

    Args:
        figure: empty; it gets the size that is needed.
        summary: that the groups are from.
        groups: each the plain model, and variants with a difference to it.
    """
    room = WIDTH - 2 * EDGE
    titles = [wrapped(_title(plain), room, TITLE_SIZE, bold=True) for plain, *_ in groups]
    labels = [[_label(item) for item in shown] for _, *shown in groups]
    lines = [line for group in labels for label in group for line in label]
    left = EDGE + max(text_width(line, LABEL_SIZE) for line in lines) + 0.1
    most = max(len(label) for group in labels for label in group)
    pitch = max(BAR, lines_height(most, LABEL_SIZE) + 0.1)
    note = wrapped(_note(summary, groups), room, NOTE_SIZE)
    heads = [2 * TITLE_GAP + lines_height(len(title), TITLE_SIZE) for title in titles]
    bodies = [pitch * (len(group) + 0.2) for group in labels]
    below = FOOT + 2 * EDGE + lines_height(len(note), NOTE_SIZE)
    height = sum(heads) + sum(bodies) + below
    figure.set_size_inches(WIDTH, height)
    top, first = height, None
    for place, (_, *shown) in enumerate(groups):
        top -= heads[place] + bodies[place]
        axes = figure.add_axes(
            (left / WIDTH, top / height, 1 - (left + EDGE) / WIDTH, bodies[place] / height),
            sharex=first,
        )
        first = first or axes
        figure.text(
            EDGE / WIDTH,
            (top + bodies[place] + TITLE_GAP) / height,
            "\n".join(titles[place]),
            fontsize=TITLE_SIZE,
            fontweight="bold",
            va="bottom",
        )
        _draw_panel(axes, shown, labels[place])
        axes.tick_params(axis="x", labelbottom=place == len(groups) - 1)
    axes.set_xlabel("difference in rsum")
    draw_note(figure, note)


def _title(plain: Compared) -> str:
    row = plain.row
    return f"{' '.join(row.label.split())} at {percent(row.ratio)}: rsum {row.rsum.mean:.1f}"


def _label(item: Compared) -> list[str]:
    return wrapped(with_seeds(item.row.label, [item.seeds]), MOST_LABEL, LABEL_SIZE)


def _note(summary: Summary, groups: Sequence[Sequence[Compared]]) -> str:
    """What is drawn, of which images, and what the intervals are."""
    seeds = seeds_in_words([item.seeds for _, *shown in groups for item in shown])
    return (
        f"{summary.name}: mean difference of {seeds} on {summary.images}, with its 95 % paired "
        "bootstrap interval over images"
    )


def _draw_panel(axes: Axes, shown: Sequence[Compared], labels: Sequence[Sequence[str]]) -> None:
    points, low, high = [], [], []
    for item in shown:
        assert item.difference is not None
        points.append(item.difference.points)
        low.append(item.difference.points - item.difference.low)
        high.append(item.difference.high - item.difference.points)
    places = range(len(shown))
    colours = [COLOURS[1] if value < 0 else COLOURS[0] for value in points]
    axes.barh(places, points, height=0.62, color=colours)
    axes.errorbar(points, places, xerr=[low, high], fmt="none", ecolor=INK, elinewidth=1, capsize=3)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, ["\n".join(label) for label in labels], fontsize=LABEL_SIZE)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(shown) - 0.4, -0.6)  # the first on top
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.25)
    for place, value in zip(places, points, strict=True):
        # At the far end of the interval, where the bar and its error leave room.
        far = value - low[place] if value < 0 else value + high[place]
        axes.annotate(
            signed(value).replace("-", "−"),  # as on the axis
            xy=(far, place),
            xytext=(-6 if value < 0 else 6, 0),
            textcoords="offset points",
            ha="right" if value < 0 else "left",
            va="center",
        )
