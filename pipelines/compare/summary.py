"""What the cells come to: means and spreads over seeds, differences, ablations."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.compare.config import Comparison
from pipelines.compare.results import Done
from trainer.config import DEFAULT_MODEL
from trainer.metrics import RECALLS, Difference, bootstrap_difference
from weaksup.wording import counted

Direction = Literal["image_to_text", "text_to_image"]
NAMES = tuple(f"R@{k}" for k in RECALLS)


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds.

    Attributes:
        mean: over the seeds.
        sd: standard deviation (of a sample); None for one seed.
    """

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """That of one value a seed."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Row:
    """What one label came to at one ratio.

    Attributes:
        label, model, ratio: which.
        changed: whether it is a variant of its model, and not the plain one.
        seeds: that are done.
        recalls: direction -> ``R@K`` -> percent.
        rsum: of the six.
        seconds: of training, the mean.
        annotated: images that keep captions.
    """

    label: str
    model: str
    ratio: float
    changed: bool
    seeds: tuple[int, ...]
    recalls: Mapping[Direction, Mapping[str, Spread]]
    rsum: Spread
    seconds: float
    annotated: int


@dataclass(frozen=True)
class Compared:
    """A row beside the one that it is compared with.

    Attributes:
        row: which.
        reference: label of the other one; empty if there is none, or the row is it.
        difference: to it, over the seeds that both have.
        seeds: how many these are.
    """

    row: Row
    reference: str = ""
    difference: Difference | None = None
    seeds: int = 0


@dataclass(frozen=True)
class Summary:
    """Everything that tables and plots show, of one protocol.

    Attributes:
        name: of the comparison.
        images: that are ranked, in words: ``1,000 test images``; empty where nothing is done.
        protocol: of the evaluation.
        rows: by ratio, then in the order of the file.
        ablations: variants beside the plain row of their model at the same ratio, which comes
            before them.
    """

    name: str
    images: str
    protocol: str
    rows: tuple[Compared, ...]
    ablations: tuple[Compared, ...]

    @property
    def ratios(self) -> list[float]:
        return sorted({item.row.ratio for item in self.rows})

    def at(self, ratio: float) -> list[Compared]:
        """The rows of one ratio."""
        return [item for item in self.rows if item.row.ratio == ratio]


def summarize(comparison: Comparison, done: Sequence[Done], protocol: str) -> Summary:
    """Sum up the cells that are done, by one protocol."""
    order = {variant.label: place for place, variant in enumerate(comparison.variants)}
    cells: dict[tuple[float, str], list[Done]] = {}
    for item in sorted(done, key=lambda d: (d.cell.ratio, order[d.cell.label], d.cell.seed)):
        cells.setdefault((item.cell.ratio, item.cell.label), []).append(item)
    rows = {key: _row(items, protocol) for key, items in cells.items()}
    compared, ablations = [], []
    for row in rows.values():
        beside = [other for other in rows.values() if other.ratio == row.ratio]
        compared.append(_compare(row, _reference(comparison, beside), cells, protocol))
        others = [other for other in beside if other.model == row.model]
        plain = next((r for r in others if not r.changed), None)
        if plain is not None and any(r.changed for r in others):
            ablations.append(_compare(row, plain, cells, protocol))
    return Summary(
        comparison.name, _images(done, protocol), protocol, tuple(compared), tuple(ablations)
    )


def _images(done: Sequence[Done], protocol: str) -> str:
    """What was ranked: the same for every cell, or it would be done again."""
    if not done:
        return ""
    images, split = done[0].record["images"], done[0].record["split"]
    words = counted(images, f"{split} image")
    return words if protocol == "full" else f"{words}, {protocol}"


def _row(items: Sequence[Done], protocol: str) -> Row:
    first, figures = items[0], [item.figures(protocol) for item in items]
    directions: tuple[Direction, ...] = ("image_to_text", "text_to_image")
    return Row(
        label=first.cell.label,
        model=first.cell.model,
        ratio=first.cell.ratio,
        changed=bool(first.cell.changed),
        seeds=tuple(item.cell.seed for item in items),
        recalls={
            way: {name: Spread.of([f[way][name] for f in figures]) for name in NAMES}
            for way in directions
        },
        rsum=Spread.of([f["rsum"] for f in figures]),
        seconds=statistics.fmean(item.record["seconds"] for item in items),
        annotated=first.record["annotated_images"],
    )


def _reference(comparison: Comparison, rows: Sequence[Row]) -> Row | None:
    """The row of one ratio that the others are compared with, if it is there."""
    if comparison.reference:
        return next((row for row in rows if row.label == comparison.reference), None)
    baselines = [row for row in rows if row.model != DEFAULT_MODEL]
    return max(baselines, key=lambda row: row.rsum.mean, default=None)


def _compare(
    row: Row,
    reference: Row | None,
    cells: Mapping[tuple[float, str], Sequence[Done]],
    protocol: str,
) -> Compared:
    if reference is None or reference == row:
        return Compared(row)
    ours = {item.cell.seed: item for item in cells[row.ratio, row.label]}
    theirs = {item.cell.seed: item for item in cells[reference.ratio, reference.label]}
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return Compared(row, reference.label)
    difference = bootstrap_difference(
        [ours[seed].ranks(protocol) for seed in shared],
        [theirs[seed].ranks(protocol) for seed in shared],
    )
    return Compared(row, reference.label, difference, len(shared))
