"""Summaries as tables: the same ones on the terminal and in ``results.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.table import Table

from pipelines.compare.plan import percent
from pipelines.compare.summary import NAMES, Compared, Direction, Row, Spread, Summary
from weaksup.wording import counted


@dataclass(frozen=True)
class Sheet:
    """A table that can be printed and written.

    Attributes:
        title: a line above it.
        header: names of the columns; the first holds labels.
        rows: a text each.
        caption: what a reader must know.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, caption=self.caption or None, title_justify="left")
        table.caption_justify = "left"
        for number, name in enumerate(self.header):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a file."""
        lines = [self.header, ("---", *("---:" for _ in self.header[1:])), *self.rows]
        table = "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)
        return "\n\n".join(part for part in (f"## {self.title}", table, self.caption) if part)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def make_sheets(summary: Summary) -> Iterator[Sheet]:
    """One for each ratio, and one of the ablations if there are any."""
    for ratio in summary.ratios:
        items = summary.at(ratio)
        references = {item.reference for item in items if item.reference}
        annotated = items[0].row.annotated
        yield Sheet(
            title=f"{percent(ratio)} of the captions ({counted(annotated, 'image')})"
            + _protocol(summary.protocol),
            header=_header(
                "model", "than " + " or ".join(sorted(references)) if references else ""
            ),
            rows=tuple(_line(item, bool(references)) for item in items),
            caption=_caption(items) if references else "",
        )
    for (model, ratio), items in _groups(summary.ablations):
        plain = next(item for item in items if not item.row.changed)
        yield Sheet(
            title=f"Ablation of {model} at {percent(ratio)}" + _protocol(summary.protocol),
            header=_header("variant", f"than {plain.row.label}"),
            rows=tuple(_line(item, True) for item in items),
            caption=_caption(items),
        )


def _groups(items: Sequence[Compared]) -> Iterator[tuple[tuple[str, float], list[Compared]]]:
    """Ablations by model and ratio, the plain row first."""
    groups: dict[tuple[str, float], list[Compared]] = {}
    for item in items:
        groups.setdefault((item.row.model, item.row.ratio), []).append(item)
    for key, group in groups.items():
        yield key, sorted(group, key=lambda item: item.row.changed)


def signed(points: float) -> str:
    """A difference to one place, with its sign; what rounds to 0 has none."""
    rounded = round(points, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def ablation_groups(summary: Summary) -> list[list[Compared]]:
    """The ablations of each model at each ratio, the plain row first."""
    return [group for _, group in _groups(summary.ablations)]


def _protocol(name: str) -> str:
    return "" if name == "full" else f", {name}"


def _header(first: str, better: str) -> tuple[str, ...]:
    names = (first, "i2t R@1/5/10", "t2i R@1/5/10", "rsum", "seeds")
    compared = (f"rsum {better}", "95 % interval", "better in") if better else ()
    return (*names, *compared, "training")


def _line(item: Compared, compares: bool) -> tuple[str, ...]:
    row = item.row
    return (
        row.label,
        _recalls(row, "image_to_text"),
        _recalls(row, "text_to_image"),
        spread(row.rsum),
        str(len(row.seeds)),
        *(_difference(item) if compares else ()),
        duration(row.seconds),
    )


def _recalls(row: Row, direction: Direction) -> str:
    return "/".join(f"{row.recalls[direction][name].mean:.1f}" for name in NAMES)


def spread(value: Spread) -> str:
    """``198.1 ± 2.0``."""
    return f"{value.mean:.1f}" + (f" ± {value.sd:.1f}" if value.sd is not None else "")


def _difference(item: Compared) -> tuple[str, str, str]:
    difference = item.difference
    if difference is None:
        return ("no seed in common" if item.reference else "", "", "")
    return (
        signed(difference.points),
        f"{signed(difference.low)} to {signed(difference.high)}",
        f"{100 * difference.better:.0f} %",
    )


def _caption(items: Sequence[Compared]) -> str:
    fewer = [
        f"{item.row.label} on {item.seeds} of its {len(item.row.seeds)} seeds"
        for item in items
        if item.difference is not None and item.seeds < len(item.row.seeds)
    ]
    return (
        "± is the standard deviation over seeds. Differences are over the seeds that both lines "
        "have, and so not always those of the means shown. The interval is that of a paired "
        "bootstrap over test images; better in: the share of its resamples in which the line is "
        "better" + (f". Compared: {'; '.join(fewer)}" if fewer else "") + "."
    )


def duration(seconds: float) -> str:
    """``11 s``, ``4.2 min``, ``3.1 h``: what a reader compares by eye."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    span = timedelta(seconds=seconds)
    return (
        f"{span / timedelta(minutes=1):.1f} min"
        if seconds < 7200
        else (f"{span / timedelta(hours=1):.1f} h")
    )


def make_markdown(name: str, notes: Sequence[str], summaries: Sequence[Summary]) -> str:
    """The content of ``results.md``."""
    sheets = [sheet.markdown() for summary in summaries for sheet in make_sheets(summary)]
    listed = "\n".join(f"- {note}" for note in notes)
    return "\n\n".join(part for part in (f"# {name}", listed, *sheets) if part) + "\n"
