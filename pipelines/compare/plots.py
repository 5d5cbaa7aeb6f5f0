"""Recall over the share of captions, and ablations, as PNG and SVG."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.compare.plot_bars import draw_bars
from pipelines.compare.plot_lines import draw_lines
from pipelines.compare.plot_style import DPI, styled
from pipelines.compare.summary import Compared, Direction, Row, Summary
from pipelines.compare.table import ablation_groups
from weaksup.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIRECTIONS: tuple[tuple[Direction, str], ...] = (
    ("text_to_image", "Text to image"),
    ("image_to_text", "Image to text"),
)
# What matplotlib warns of for a letter that its fonts lack, or whose script it does not shape.
LACKING = r"Glyph (\d+) .*missing"
UNSHAPED = r"Matplotlib currently does not support \w+ natively"


@dataclass(frozen=True)
class Plots:
    """What was drawn.

    Attributes:
        files: in the order of ``make_figures``, each as PNG and SVG.
        lacking: letters that matplotlib's font does not have: boxes in the PNG.
    """

    files: tuple[Path, ...]
    lacking: tuple[str, ...]


def draw_plots(summary: Summary, folder: Path) -> Plots:
    """Draw what there is something to draw of, and save it.

    Args:
        summary: of one protocol.
        folder: for the files; there already.

    Raises:
        MissingDependencyError: if matplotlib is not installed.
    """
    _require_matplotlib()
    with _lacking_letters() as lacking, styled():
        figures = make_figures(summary)
        files = [path for name, figure in figures.items() for path in _save(figure, folder / name)]
    return Plots(tuple(files), tuple(sorted(lacking)))


def make_figures(summary: Summary) -> dict[str, Figure]:
    """The figures by name: of lines, which need two ratios, and of bars, which need variants.

    To be called, and the figures to be saved, within ``styled``.
    """
    # A Figure of its own needs no display and leaves pyplot's state alone.
    from matplotlib.figure import Figure

    figures = {}
    lines = _lines(summary)
    for direction, title in DIRECTIONS if lines else ():
        figure = figures[f"recall-over-ratio-{direction.replace('_', '-')}"] = Figure()
        draw_lines(figure, summary, lines, direction, title)
    groups = _bars(summary, {rows[0].label for rows in lines})
    if groups:
        figure = figures["ablation"] = Figure()
        draw_bars(figure, summary, groups)
    return figures


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "matplotlib is not installed: the tables are written, the plots are not",
            "pip install 'weaksup[plots]', or 'matplotlib>=3.8', and run the same command "
            "again; or leave them out with --no-plots",
        ) from error


@contextmanager
def _lacking_letters() -> Iterator[set[str]]:
    """Collect the letters that matplotlib warns of, each with a line of code; others are shown."""
    lacking: set[str] = set()
    with warnings.catch_warnings(record=True) as said:
        warnings.filterwarnings("always", LACKING, UserWarning)
        warnings.filterwarnings("ignore", UNSHAPED, UserWarning)
        yield lacking
    for each in said:
        found = re.match(LACKING, str(each.message))
        if found:
            lacking.add(chr(int(found[1])))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


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
