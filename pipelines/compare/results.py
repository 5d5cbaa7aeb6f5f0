"""What is kept of a cell: ``cell.json`` with its figures, ``ranks.npz`` with its ranks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.compare.plan import Cell
from pipelines.compare.stored import PARTS, read_ranks
from trainer.evaluate import EvaluationResult
from trainer.ranking import Ranks
from weaksup.files import write_atomically

REPORT, RANKS, PROGRESS = "cell.json", "ranks.npz", "progress.json"
FORMAT, VERSION = "weaksup.comparison", 1

Record = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A cell that is done.

    Attributes:
        cell: which.
        record: its line of ``results.jsonl``.
        folder: that its ranks are in.
    """

    cell: Cell
    record: Record
    folder: Path

    def figures(self, protocol: str) -> Record:
        """``image_to_text``, ``text_to_image`` and ``rsum`` of one protocol."""
        if protocol == self.record["protocol"]:
            return self.record
        other: Record = self.record["other_protocols"][protocol]
        return other

    def ranks(self, protocol: str) -> tuple[Ranks, ...]:
        """The folds of one protocol."""
        return read_ranks(self.folder / RANKS, protocol)


def write_cell(
    folder: Path,
    *,
    fingerprint: Mapping[str, str],
    record: Record,
    evaluations: Mapping[str, EvaluationResult],
) -> None:
    """Keep what a cell found; ``cell.json`` comes last and says that it is done."""
    arrays = {
        f"{protocol}-{number}-{name}": getattr(fold, name)
        for protocol, evaluation in evaluations.items()
        for number, fold in enumerate(evaluation.folds)
        for name in PARTS
    }
    temporary = folder / f"{RANKS}.tmp"
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(folder / RANKS)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": dict(fingerprint),
        "record": record,
    }
    write_atomically(folder / REPORT, json.dumps(content, indent=2) + "\n")


def discard_run(folder: Path) -> None:
    """Delete all but the figures and the ranks of a cell that is done."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (REPORT, RANKS):
            path.unlink()


def write_results(path: Path, done: Iterable[Done]) -> None:
    """One line of JSON a cell, in the order of the plan."""
    lines = [json.dumps(item.record, ensure_ascii=False) + "\n" for item in done]
    write_atomically(path, "".join(lines))
