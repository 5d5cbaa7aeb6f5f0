"""Recall over the share of captions, and ablations, as PNG and SVG."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.compare.plot_bars import draw_bars
from pipelines.compare.plot_lines import draw_lines
from pipelines.compare.plot_style import DPI, STYLE
from pipelines.compare.summary import Compared, Direction, Row, Summary
from pipelines.compare.table import ablation_groups
from weaksup.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIRECTIONS: tuple[tuple[Direction, str], ...] = (
    ("text_to_image", "Text to image"),
    ("image_to_text", "Image to text"),
)


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
    with _quiet():
        try:
            import matplotlib
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError(
                "matplotlib is not installed: the tables are written, the plots are not",
                "pip install 'weaksup[plots]', or 'matplotlib>=3.8', and run the same command "
                "again; or leave them out with --no-plots",
            ) from error
        written = []
        # A Figure of its own needs no display and leaves pyplot's state alone.
        with matplotlib.rc_context(STYLE):
            lines = _lines(summary)
            for direction, title in DIRECTIONS if lines else ():
                figure = Figure()
                draw_lines(figure, summary, lines, direction, title)
                name = f"recall-over-ratio-{direction.replace('_', '-')}"
                written += _save(figure, folder / name)
            groups = _bars(summary, {rows[0].label for rows in lines})
            if groups:
                figure = Figure()
                draw_bars(figure, summary, groups)
                written += _save(figure, folder / "ablation")
    return written


@contextmanager
def _quiet() -> Iterator[None]:
    """Without matplotlib's own remarks, such as on letters that its font lacks.

    They name lines of code, and there is nothing that a user could do about them here.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


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
