"""One shard by itself, as a task of a job array writes it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from weaksup.analyser import Traits
from weaksup.detectors.build import ModelChoice
from weaksup.errors import UsageError
from weaksup.extract import Opened, Progress, Shard, extract_shard, plan_extraction


def extract_one(
    images: Sequence[tuple[str, Path]],
    models: ModelChoice,
    *,
    shard: int,
    out: Path,
    concepts: Path,
    concept_list: Path | None,
    shards: int,
    batch_size: int,
    workers: int | None,
    overwrite: bool,
    opened: Opened,
    progress: Progress,
) -> Shard:
    """Write shard number ``shard``, from 0, or go on with it; nobody else may be writing that one.

    The other arguments and the errors are those of ``weaksup.extract.extract``, which makes the
    shards one store when it is called after all are written.

    Raises:
        UsageError: if there is no such shard.
    """
    if not 0 <= shard < shards:
        raise UsageError(
            f"there is no shard {shard} of {shards}", f"--shard is from 0 to {shards - 1}"
        )
    detector, feature_model = models.build()
    extraction = plan_extraction(
        images,
        Traits.of(detector, feature_model, batch_size=batch_size),
        out=out,
        concepts=concepts,
        concept_list=concept_list,
        shards=shards,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    part = extraction.shards[shard]
    with closing(extract_shard(part, detector, feature_model, threads=workers)) as steps:
        before = next(steps)
        opened(extraction.vocabulary)
        for step in steps:
            progress(step, len(part.images), step - before)
    return part
