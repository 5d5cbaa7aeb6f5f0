"""One cell: subsample, train, evaluate. What is done already is not done again."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipelines.compare.data import ComparisonData
from pipelines.compare.plan import Cell
from pipelines.compare.progress import Progress, Stopwatch
from pipelines.compare.results import VERSION, Done, Record, write_cell
from pipelines.compare.standing import find_cell
from pipelines.compare.stored import DamagedError
from trainer.checkpoint import STATE, read_fingerprint
from trainer.evaluate import EvaluationResult, ProtocolName, evaluate_protocols
from trainer.evidence import sources
from trainer.logging import JsonlLogger, Logger, Loggers
from trainer.run import RunDescription, load_run
from trainer.train import Plan, TrainingResult, run_fingerprint, train
from weaksup import __version__
from weaksup.corpora import write_annotations
from weaksup.errors import DataError
from weaksup.subsample import subsample
from weaksup.types import Annotations

MIB = 1 << 20

# Further loggers for a run, such as a view on the terminal.
MakeLoggers = Callable[[Plan], Sequence[Logger]]


def cell_fingerprint(cell: Cell, data: ComparisonData, protocols: Sequence[str]) -> dict[str, str]:
    """What a cell is made from, by name; it is done again if one of these has changed."""
    return {
        "settings": cell.config.decisive.model_dump_json(),
        "regions": data.store.fingerprint,
        "captions": data.corpus.fingerprint,
        "ratio": repr(cell.ratio),
        "test images": f"{data.test.name}, {len(data.test.images)}",
        "protocols": ", ".join(protocols),
        "version": f"{__version__}, {VERSION}",
    }


def run_cell(
    cell: Cell,
    data: ComparisonData,
    *,
    folder: Path,
    protocols: Sequence[ProtocolName],
    make_loggers: MakeLoggers = lambda plan: [],
) -> None:
    """Do what is not done yet of a cell.

    Args:
        cell: which.
        data: of the comparison.
        folder: of the cell; what is there of another training is deleted.
        protocols: of the evaluation; the first one's figures are the record's own.
        make_loggers: called once with the plan of a training.

    Raises:
        UserError: if the cell cannot be trained with these settings and data, or a file of it
            cannot be read: then nothing is deleted.
        KeyboardInterrupt: on a signal; the same call goes on.
    """
    fingerprint = cell_fingerprint(cell, data, protocols)
    if isinstance(find_cell(folder, cell, fingerprint), Done):
        return
    progress = _begun(folder, fingerprint)
    if progress is None:
        shutil.rmtree(folder, ignore_errors=True)
        progress = Progress()
        progress.write(folder, fingerprint)
    kept = subsample(data.corpus, ratio=cell.ratio, seed=cell.config.seed, store_ids=data.readable)
    if not progress.trained:
        progress = _train(cell, data, kept, folder, progress, fingerprint, make_loggers)
    evaluations = _evaluate(cell, data, folder, protocols)
    record = _record(cell, data, kept, progress, evaluations)
    write_cell(folder, fingerprint=fingerprint, record=record, evaluations=evaluations)


def _begun(folder: Path, fingerprint: dict[str, str]) -> Progress | None:
    """What there is to go on from; what is damaged is begun anew."""
    try:
        return Progress.read(folder, fingerprint)
    except DamagedError:
        return None


def _train(
    cell: Cell,
    data: ComparisonData,
    kept: Annotations,
    folder: Path,
    progress: Progress,
    fingerprint: dict[str, str],
    make_loggers: MakeLoggers,
) -> Progress:
    """Train, or go on; what it takes is kept even if it is interrupted."""
    store, annotations = data.store, folder / "annotations.json"
    write_annotations(annotations, kept)
    stopwatch = Stopwatch(progress, folder, fingerprint)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()

    def make_logger(plan: Plan) -> Logger:
        steps = JsonlLogger(folder / "metrics.jsonl", resume_step=plan.start_step or None)
        return Loggers([steps, stopwatch, *make_loggers(plan)])

    try:
        result = train(
            config=cell.config,
            store=store,
            corpus=data.corpus,
            annotations=kept,
            description=RunDescription(
                config=cell.config,
                regions=store.path.resolve(),
                captions=data.captions.resolve(),
                annotations=annotations.resolve(),
                provenance=store.provenance,
                fingerprint=store.fingerprint,
                feature_size=store.feature_size,
                sources=sources(store),
            ),
            folder=folder,
            resume=_resumes(folder, run_fingerprint(cell.config, store, data.corpus, kept)),
            make_logger=make_logger,
        )
    except KeyboardInterrupt:
        stopwatch.save()
        raise
    progress = _ended(stopwatch.progress(), result)
    progress.write(folder, fingerprint)
    if result.interrupted:
        raise KeyboardInterrupt
    return progress


def _resumes(folder: Path, fingerprint: dict[str, str]) -> bool:
    """Whether there is a state to go on from; what is damaged, or was begun in the precision of
    another device, is begun anew.
    """
    try:
        return (folder / STATE).exists() and read_fingerprint(folder / STATE) == fingerprint
    except DataError:
        return False


def _ended(progress: Progress, result: TrainingResult) -> Progress:
    on_gpu = torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0
    return replace(
        progress,
        trained=True,
        val_rsum=None if math.isnan(result.best_rsum) else result.best_rsum,
        best_epoch=result.best_epoch,
        epochs=result.epochs,
        peak_gpu_mib=torch.cuda.max_memory_allocated() / MIB if on_gpu else None,
    )


def _evaluate(
    cell: Cell, data: ComparisonData, folder: Path, protocols: Sequence[ProtocolName]
) -> dict[str, EvaluationResult]:
    run = load_run(folder, device=cell.config.device)
    return evaluate_protocols(run, data.store, data.test.images, protocols)


def _record(
    cell: Cell,
    data: ComparisonData,
    kept: Annotations,
    progress: Progress,
    evaluations: dict[str, EvaluationResult],
) -> Record:
    """A line of ``results.jsonl``, but for what names the cell."""
    main, *others = evaluations
    speed = progress.steps / progress.step_seconds if progress.steps else None
    return {
        "trained_seed": cell.config.seed,
        "set": cell.changed,
        "settings": cell.config.model_dump(mode="json"),
        "split": data.test.name,
        "images": evaluations[main].images,
        "captions": evaluations[main].captions,
        "protocol": main,
        **_figures(evaluations[main]),
        "other_protocols": {name: _figures(evaluations[name]) for name in others},
        "val_rsum": progress.val_rsum,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epochs,
        "annotated_images": len(kept.annotated),
        "annotated_captions": sum(map(len, kept.captions_kept.values())),
        "training_images": len(kept.annotated) + len(kept.unannotated),
        "seconds": progress.seconds,
        "steps_per_second": speed,
        "peak_gpu_mib": progress.peak_gpu_mib,
    }


def _figures(evaluation: EvaluationResult) -> dict[str, Any]:
    return {
        "image_to_text": evaluation.image_to_text,
        "text_to_image": evaluation.text_to_image,
        "rsum": evaluation.rsum,
    }
