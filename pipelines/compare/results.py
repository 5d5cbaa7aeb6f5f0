"""What is kept of a cell: ``cell.json`` with its figures, ``ranks.npz`` with its ranks.

Letters: N images, C captions.
"""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.compare.plan import Cell
from trainer.evaluate import EvaluationResult
from trainer.ranking import Ranks
from weaksup.errors import DataError
from weaksup.files import write_atomically

REPORT, RANKS, PROGRESS = "cell.json", "ranks.npz", "progress.json"
FORMAT, VERSION = "weaksup.comparison", 1

Record = dict[str, Any]

# What reading a damaged npz file can raise.
_BROKEN = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


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


def read_done(folder: Path, cell: Cell, fingerprint: Mapping[str, str]) -> Done | None:
    """The result of a cell in its folder.

    None if it is not there, is damaged, or was made from other things.
    """
    content = read_json(folder / REPORT)
    found = content.get("record")
    if content.get("fingerprint") != fingerprint or not isinstance(found, dict):
        return None
    record = {
        **{"label": cell.label, "model": cell.model, "ratio": cell.ratio, "seed": cell.seed},
        **found,
    }
    done = Done(cell, record, folder)
    try:
        # Its checksums are verified as it is read: what is damaged is found before it is needed.
        done.ranks(record["protocol"])
        for protocol in record["other_protocols"]:
            done.ranks(protocol)
    except (KeyError, DataError):
        return None
    return done


def differences(folder: Path, fingerprint: Mapping[str, str]) -> list[str]:
    """The names of what a cell that is done, or begun, was made from other than now."""
    for name in (REPORT, PROGRESS):
        before = read_json(folder / name).get("fingerprint")
        if isinstance(before, dict):
            return [key for key, value in fingerprint.items() if before.get(key) != value]
    return []


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
        for name in ("image_to_text", "text_to_image", "caption_image")
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


def read_ranks(path: Path, protocol: str) -> tuple[Ranks, ...]:
    """The folds of one protocol.

    Raises:
        DataError: if the file is damaged or has no such protocol.
    """
    folds: list[Ranks] = []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            while f"{protocol}-{len(folds)}-image_to_text" in arrays:
                names = ("image_to_text", "text_to_image", "caption_image")
                folds.append(Ranks(*(arrays[f"{protocol}-{len(folds)}-{name}"] for name in names)))
    except _BROKEN as error:
        raise _damaged(path, error) from error
    if not folds:
        raise _damaged(path, f"it has no ranks of the protocol {protocol}")
    return tuple(folds)


def _damaged(path: Path, reason: object) -> DataError:
    return DataError(
        f"{path} cannot be read: {reason}", "delete its folder and run the same command again"
    )


def read_json(path: Path) -> dict[str, Any]:
    """An object, or an empty one where there is no whole file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
