"""Recall over the share of captions, and ablations, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.compare.plan import percent
from pipelines.compare.summary import NAMES, Compared, Direction, Row, Summary
from pipelines.compare.table import ablation_groups
from weaksup.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by all kinds of colour vision, and a marker each: two lines
# differ in print, too. Source: Okabe and Ito, Color Universal Design, 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, INK = "#8A8A8A", "#222222"
DIRECTIONS: tuple[tuple[Direction, str], ...] = (
    ("text_to_image", "Text to image"),
    ("image_to_text", "Image to text"),
)
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
    "svg.fonttype": "none",
    # The same figures give the same file.
    "svg.hashsalt": "weaksup",
}
DPI = 200


def draw_plots(summary: Summary, folder: Path) -> list[Path]:
    """Draw what there is something to draw of: lines need two ratios, bars need variants.

    Args:
        summary: of one protocol.
        folder: for the files; there already.

    Returns:
        The files.

    Raises:
        MissingDependencyError: if matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "matplotlib is not installed: the tables are written, the plots are not",
            "pip install 'weaksup[plots]', or 'matplotlib>=3.8', and run the same command again; "
            "or leave them out with --no-plots",
        ) from error
    written = []
    # A Figure of its own needs no display and leaves pyplot's state alone.
    with matplotlib.rc_context(STYLE):
        lines = _lines(summary)
        for direction, title in DIRECTIONS if lines else ():
            figure = Figure(figsize=(10.2, 3.6), layout="constrained")
            _draw_recalls(figure, lines, direction, title)
            name = f"recall-over-ratio-{direction.replace('_', '-')}"
            written += _save(figure, folder / name)
        groups = ablation_groups(summary)
        if groups:
            bars = sum(len(group) - 1 for group in groups)
            figure = Figure(
                figsize=(6.8, 0.9 * len(groups) + 0.36 * bars + 0.3), layout="constrained"
            )
            _draw_ablations(figure, groups)
            written += _save(figure, folder / "ablation")
    return written


def _save(figure: Figure, path: Path) -> list[Path]:
    files = [path.with_name(f"{path.name}.{suffix}") for suffix in ("png", "svg")]
    figure.savefig(files[0], dpi=DPI)
    figure.savefig(files[1], metadata={"Date": None})
    return files


def _lines(summary: Summary) -> list[list[Row]]:
    """The rows of each label that has two ratios or more, by ratio."""
    by_label: dict[str, list[Row]] = {}
    for item in summary.rows:
        by_label.setdefault(item.row.label, []).append(item.row)
    return [rows for rows in by_label.values() if len(rows) > 1]


def _draw_recalls(
    figure: Figure, lines: Sequence[Sequence[Row]], direction: Direction, title: str
) -> None:
    """A panel for each recall: a line a label, a band of one standard deviation to each side."""
    figure.suptitle(title, x=0.005, ha="left", fontsize=11, fontweight="bold")
    panels: Any = figure.subplots(1, len(NAMES))
    ratios = sorted({row.ratio for rows in lines for row in rows})
    for axes, name in zip(panels, NAMES, strict=True):
        ends = []
        for number, rows in enumerate(lines):
            colour = COLOURS[number % len(COLOURS)]
            x = [row.ratio for row in rows]
            spreads = [row.recalls[direction][name] for row in rows]
            means = [spread.mean for spread in spreads]
            sds = [spread.sd or 0.0 for spread in spreads]
            axes.fill_between(
                x,
                [mean - sd for mean, sd in zip(means, sds, strict=True)],
                [mean + sd for mean, sd in zip(means, sds, strict=True)],
                color=colour,
                alpha=0.18,
                linewidth=0,
            )
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(x, means, color=colour, marker=marker, markersize=4, linewidth=1.6)
            ends.append((rows[0].label, x[-1], means[-1], colour))
        axes.set_xscale("log")
        axes.set_xticks(ratios, [percent(ratio) for ratio in ratios])
        axes.set_xlabel("training images with captions")
        axes.set_title(f"{name} in percent", loc="left")
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="y", nbins=6)
        _label_ends(axes, ends)


def _label_ends(axes: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Names beside the ends of lines, moved apart where they would overlap.

    A line that ends before others is named above its end: beside it, others go on.
    """
    last = max((x for _, x, _, _ in ends), default=0.0)
    if any(x < last for _, x, _, _ in ends):
        axes.set_ylim(top=1.07 * axes.get_ylim()[1])  # room for their names below the title
    low, high = axes.get_ylim()
    gap = 0.062 * (high - low)
    for label, x, y, colour in ends:
        if x < last:
            axes.annotate(
                label,
                xy=(x, y),
                xytext=(0, 6),
                textcoords="offset points",
                color=colour,
                fontsize=8.5,
                ha="center",
                va="bottom",
                annotation_clip=False,
            )
    ordered = sorted((end for end in ends if end[1] == last), key=lambda end: end[2])
    places = _apart([end[2] for end in ordered], gap)
    for (label, x, y, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            label,
            xy=(x, y),
            xytext=(9, place),
            textcoords=("offset points", "data"),
            color=colour,
            fontsize=8.5,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0},
        )


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Rising values moved as little as need be to be ``gap`` apart.

    Neighbours that are too near become a block around the mean of what they were.
    """
    blocks: list[tuple[float, int]] = []  # centre and how many
    for value in values:
        blocks.append((value, 1))
        while len(blocks) > 1:
            (below, few), (above, many) = blocks[-2:]
            if above - below >= gap * (few + many) / 2:
                break
            blocks[-2:] = [((below * few + above * many) / (few + many), few + many)]
    return [
        centre + gap * (place - (count - 1) / 2)
        for centre, count in blocks
        for place in range(count)
    ]


def _draw_ablations(figure: Figure, groups: Sequence[Sequence[Compared]]) -> None:
    """Bars of the difference to the plain model, with the interval of each."""
    panels: Any = figure.subplots(
        len(groups), 1, sharex=True, squeeze=False, height_ratios=[len(g) for g in groups]
    )
    for axes, (plain, *variants) in zip(panels[:, 0], groups, strict=True):
        shown = [item for item in variants if item.difference is not None]
        points, low, high = [], [], []
        for item in shown:
            assert item.difference is not None
            points.append(item.difference.points)
            low.append(item.difference.points - item.difference.low)
            high.append(item.difference.high - item.difference.points)
        colours = [COLOURS[1] if value < 0 else COLOURS[0] for value in points]
        places = range(len(shown))
        axes.barh(places, points, height=0.62, color=colours)
        axes.errorbar(
            points, places, xerr=[low, high], fmt="none", ecolor=INK, elinewidth=1, capsize=3
        )
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(places, [item.row.label for item in shown])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
        for place, value in zip(places, points, strict=True):
            # At the far end of the interval, where the bar and its error leave room.
            far = value - low[place] if value < 0 else value + high[place]
            axes.annotate(
                f"{value:+.1f}".replace("-", "−"),  # as on the axis
                xy=(far, place),
                xytext=(-6 if value < 0 else 6, 0),
                textcoords="offset points",
                ha="right" if value < 0 else "left",
                va="center",
            )
        axes.set_title(
            f"{plain.row.label} at {percent(plain.row.ratio)}: rsum {plain.row.rsum.mean:.1f}",
            loc="left",
            fontweight="bold",
        )
    panels[-1, 0].set_xlabel("difference in rsum, with its 95 % paired bootstrap interval")
