"""Extraction by the engine that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from weaksup.detectors.build import ModelChoice
from weaksup.engines.crew import Crew
from weaksup.engines.deal import Dealer, Notify
from weaksup.errors import UsageError
from weaksup.extract import BATCH_SIZE, ExtractionReport, Opened, Progress, extract, plan_extraction

LOCAL, RAY = "local", "ray"


def _ignore(*_: object) -> None:
    pass


def run_extraction(
    images: Sequence[tuple[str, Path]],
    models: ModelChoice,
    *,
    out: Path,
    concepts: Path,
    concept_list: Path | None = None,
    engine: str = LOCAL,
    processes: int | None = None,
    workers: int | None = None,
    shards: int = 1,
    batch_size: int = BATCH_SIZE,
    overwrite: bool = False,
    opened: Opened = _ignore,
    progress: Progress = _ignore,
    notify: Notify = _ignore,
) -> ExtractionReport:
    """Detect regions and concepts in ``images``, by several workers; which ones changes nothing in
    the store.

    Args:
        models: which detector and feature model.
        engine: ``local`` or ``ray``.
        processes: that extract, a shard at a time each; by default this one alone, and with Ray as
            many as the cluster has room for.
        workers: threads of each process; by default one more than its share of the processors.
        notify: called with a sentence when a worker has died or none comes.

    The other arguments are those of ``weaksup.extract.extract``.

    Raises:
        UsageError, DataError, MissingDependencyError: what ``ModelChoice.build``, ``extract`` and
            ``Dealer.run`` raise; with Ray also what ``RayCrew`` raises.
    """
    if processes is not None and processes > shards:
        raise UsageError(
            f"--processes {processes} is too many for --shards {shards}: each writes a shard",
            f"cut the store into more files, such as --shards {4 * processes} --out DIR",
        )
    if engine == LOCAL and processes in (None, 1):
        detector, feature_model = models.build()
        return extract(
            images,
            detector=detector,
            feature_model=feature_model,
            out=out,
            concepts=concepts,
            concept_list=concept_list,
            shards=shards,
            batch_size=batch_size,
            workers=workers,
            overwrite=overwrite,
            opened=opened,
            progress=progress,
        )
    # A process elsewhere has another current folder.
    entries = [(image, path.absolute()) for image, path in images]
    place = out.absolute()
    crew: Crew
    if engine == RAY:
        from weaksup.engines.ray import RayCrew

        crew = RayCrew(
            models,
            images=[path for _, path in entries],
            folder=place if shards > 1 else place.parent,
            batch_size=batch_size,
            processes=processes,
            threads=workers,
        )
    else:
        from weaksup.engines.local import LocalCrew

        crew = LocalCrew(models, processes=processes or 1, batch_size=batch_size, threads=workers)
    plan = partial(
        plan_extraction,
        entries,
        out=place,
        concepts=concepts.absolute(),
        concept_list=concept_list,
        shards=shards,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    with crew:
        dealer = Dealer(crew, plan, shards=shards, opened=opened, progress=progress, notify=notify)
        report = dealer.run()
    return replace(report, store=out, concepts=concepts.with_name(report.concepts.name))
