"""Recall over the share of captions, and ablations, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.compare.plan import percent
from pipelines.compare.summary import NAMES, Compared, Direction, Row, Summary
from pipelines.compare.table import ablation_groups, signed
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
        groups = _bars(summary, {rows[0].label for rows in lines})
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


def _bars(summary: Summary, drawn: Collection[str]) -> list[list[Compared]]:
    """The plain model and its variants, where one is no line already and has a difference."""
    groups = []
    for plain, *variants in ablation_groups(summary):
        shown = [v for v in variants if v.difference is not None and v.row.label not in drawn]
        if shown:
            groups.append([plain, *shown])
    return groups


def _draw_recalls(
    figure: Figure, lines: Sequence[Sequence[Row]], direction: Direction, title: str
) -> None:
    """A panel for each recall: a line a label, a band of one standard deviation to each side."""
    figure.suptitle(title, x=0.005, ha="left", fontsize=11, fontweight="bold")
    panels: Any = figure.subplots(1, len(NAMES))
    ratios = sorted({row.ratio for rows in lines for row in rows})
    last = ratios[-1]
    side_by_side = all(rows[-1].ratio == last for rows in lines)
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
            label = rows[0].label
            axes.plot(
                x, means, color=colour, marker=marker, markersize=4, linewidth=1.6, label=label
            )
            ends.append((label, means[-1], colour))
        axes.set_xscale("log")
        axes.set_xticks(ratios, [percent(ratio).removesuffix(" %") for ratio in ratios])
        axes.set_xlabel("captioned images in percent")
        axes.set_title(f"{name} in percent", loc="left")
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="y", nbins=6)
        if side_by_side:
            _label_ends(axes, last, ends)
    if not side_by_side:  # beside the end of a line others go on
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=5, frameon=False)


def _label_ends(axes: Axes, x: float, ends: Sequence[tuple[str, float, str]]) -> None:
    """Names beside the ends of lines at ``x``, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ordered = sorted(ends, key=lambda end: end[1])
    places = _apart([y for _, y, _ in ordered], 0.062 * (high - low))
    for (label, y, colour), place in zip(ordered, places, strict=True):
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
    for axes, (plain, *shown) in zip(panels[:, 0], groups, strict=True):
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
        axes.margins(x=0.2)
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
        axes.set_title(
            f"{plain.row.label} at {percent(plain.row.ratio)}: rsum {plain.row.rsum.mean:.1f}",
            loc="left",
            fontweight="bold",
        )
    panels[-1, 0].set_xlabel("difference in rsum, with its 95 % paired bootstrap interval")
