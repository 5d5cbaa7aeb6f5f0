"""How a cell stands: done, to go on with, or to be done again, and then why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pipelines.compare.plan import Cell
from pipelines.compare.progress import Progress
from pipelines.compare.results import PROGRESS, RANKS, REPORT, Done
from pipelines.compare.stored import DamagedError, check_ranks, read_json
from pipelines.compare.summary import NAMES


@dataclass(frozen=True)
class Undone:
    """A cell that is not done.

    Attributes:
        reason: why what there is of it does not count; empty where there is nothing, or where it
            goes on.
    """

    reason: str = ""


def find_cell(folder: Path, cell: Cell, fingerprint: Mapping[str, str]) -> Done | Undone:
    """How a cell stands; everything that is kept of it is read and verified.

    Args:
        folder: of the cell.
        cell: which.
        fingerprint: what it is made from now.

    Raises:
        DataError: if a file is there and cannot be read.
    """
    try:
        report = read_json(folder / REPORT)
        if report is None:
            return _begun(folder, fingerprint)
        changed = _differences(folder / REPORT, report, fingerprint)
        return _other(changed) if changed else _done(folder, cell, report)
    except DamagedError as error:
        wrong = "damaged" if error.path.exists() else "missing"
        return Undone(f"its {error.path.name} is {wrong}")


def _begun(folder: Path, fingerprint: Mapping[str, str]) -> Undone:
    content = read_json(folder / PROGRESS)
    if content is None:
        return Undone()
    changed = _differences(folder / PROGRESS, content, fingerprint)
    if changed:
        return _other(changed)
    Progress.read(folder, fingerprint)  # what is damaged is told
    return Undone()


def _other(changed: list[str]) -> Undone:
    return Undone(f"made before from other {' and '.join(changed)}")


def _differences(
    path: Path, content: Mapping[str, Any], fingerprint: Mapping[str, str]
) -> list[str]:
    """The names of what a cell that is done, or begun, was made from other than now."""
    before = content.get("fingerprint")
    if not isinstance(before, dict):
        raise DamagedError(path, "it has no fingerprint")
    return [key for key in {**fingerprint, **before} if before.get(key) != fingerprint.get(key)]


def _done(folder: Path, cell: Cell, report: Mapping[str, Any]) -> Done:
    found = report.get("record")
    if not isinstance(found, dict):
        raise DamagedError(folder / REPORT, "it has no record")
    named = {"label": cell.label, "model": cell.model, "ratio": cell.ratio, "seed": cell.seed}
    done = Done(cell, {**named, **found}, folder)
    try:
        protocols = [found["protocol"], *found["other_protocols"]]
        _check_shown(done, protocols)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(folder / REPORT, f"its record lacks {error}") from error
    images, captions = found["images"], found["captions"]
    check_ranks(folder / RANKS, protocols, images=images, captions=captions)
    return done


def _check_shown(done: Done, protocols: Sequence[str]) -> None:
    """See that what tables and plots show is there, each a number but for the split's name."""
    str(done.record["split"])
    for key in ("images", "captions", "annotated_images", "seconds"):
        float(done.record[key])
    for protocol in protocols:
        figures = done.figures(protocol)
        float(figures["rsum"])
        for direction, name in product(("image_to_text", "text_to_image"), NAMES):
            float(figures[direction][name])
