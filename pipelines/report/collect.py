"""What a report tells, read and computed before a line of HTML is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pipelines.suggest.choose import DEFAULT, Pool, StrategyName
from trainer.config import changed_settings, flat_settings
from trainer.data import EvaluationSet
from trainer.evaluate import EvaluationResult, choose_split, evaluate_embeddings
from trainer.history import History, read_history
from trainer.metrics import bootstrap_interval, bootstrap_recalls
from trainer.queries import Extremes, image_extremes, text_extremes
from trainer.run import Run
from weaksup.corpora import match_ids, read_annotations, read_corpus
from weaksup.errors import DataError
from weaksup.inspect.summary import StoreSummary, summarise
from weaksup.store import RegionStore
from weaksup.subsample import Coverage, ImageConcepts, measure_coverage
from weaksup.types import Annotations, Corpus

QUERIES, TEXT_TOP, IMAGE_TOP, SUGGESTED = 4, 5, 5, 12


@dataclass(frozen=True)
class Evaluated:
    """How the run does on one split.

    Attributes:
        split: its name.
        result: the figures.
        rsum_interval: 95 % bootstrap.
        intervals: of each recall, by direction and name.
        image_ids: N, in the order that the queries count in.
        captions: C.
        caption_image: C positions in ``image_ids``.
        text_queries, image_queries: the best and the worst.
        notes: what was left out or replaced.
    """

    split: str
    result: EvaluationResult
    rsum_interval: tuple[float, float]
    intervals: dict[str, dict[str, tuple[float, float]]]
    image_ids: tuple[str, ...]
    captions: tuple[str, ...]
    caption_image: tuple[int, ...]
    text_queries: Extremes
    image_queries: Extremes
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Annotated:
    """What was annotated, what that covers, and what would be worth it next.

    Attributes:
        annotations: of the run.
        coverage: of concepts, by what is annotated.
        suggestions: un-annotated image -> why it is suggested; the order is that of
            ``weaksup suggest`` with its defaults.
        strategy: by which they are suggested.
    """

    annotations: Annotations
    coverage: Coverage
    suggestions: dict[str, str]
    strategy: StrategyName


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        run: its name.
        model: of the run.
        made: when the report was made, UTC.
        settings: all, by dotted name; ``changed`` are those that differ from the model's defaults.
        history: of its training.
        store: what the region store holds.
        store_path, captions_path, annotations_path: where they are.
        detector: that made the store.
        evaluated: on test, or val.
        annotated: None where the annotations are gone or of other captions.
        annotated_note: why it is None.
    """

    run: str
    model: str
    made: str
    epochs: int
    seed: int
    settings: dict[str, Any]
    changed: dict[str, Any]
    history: History
    store: StoreSummary
    store_path: Path
    captions_path: Path
    annotations_path: Path
    detector: str
    evaluated: Evaluated
    annotated: Annotated | None
    annotated_note: str


def collect(run: Run, store: RegionStore, captions: Path, *, split: str) -> Report:
    """Evaluate a run and gather what there is to say of it.

    Args:
        run: a trained run.
        store: that the run fits.
        captions: the captions file.
        split: that is evaluated; ``val`` takes the place of a ``test`` that has no images.

    Raises:
        DataError: if nothing can be evaluated.
    """
    corpus = match_ids(read_corpus(captions), store.ids)
    config = run.description.config
    path = run.description.annotations
    annotated, note = _annotated(path, corpus, store)
    return Report(
        run=run.folder.name,
        model=run.model_name,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        epochs=config.epochs,
        seed=config.seed,
        settings=flat_settings(config.model_dump(mode="json")),
        changed=changed_settings(config),
        history=read_history(run.folder / "metrics.jsonl"),
        store=summarise(store, top=8),
        store_path=store.path.resolve(),
        captions_path=captions.resolve(),
        annotations_path=path,
        detector=store.provenance.detector,
        evaluated=_evaluated(run, store, corpus, split=split),
        annotated=annotated,
        annotated_note=note,
    )


def _evaluated(run: Run, store: RegionStore, corpus: Corpus, *, split: str) -> Evaluated:
    chosen = choose_split(corpus, store, split)
    ranked = EvaluationSet.build(store, chosen.images)
    images = run.encode_images(store, ranked.rows)
    texts = run.encode_texts(ranked.captions)
    result = evaluate_embeddings(images, texts, ranked.caption_image, protocol="full")
    ranks = result.folds[0]
    return Evaluated(
        split=chosen.name,
        result=result,
        rsum_interval=bootstrap_interval(result.folds),
        intervals=bootstrap_recalls(result.folds),
        image_ids=tuple(image.id for image in chosen.images),
        captions=tuple(ranked.captions),
        caption_image=tuple(ranked.caption_image.tolist()),
        text_queries=text_extremes(images, texts, ranks, count=QUERIES, top=TEXT_TOP),
        image_queries=image_extremes(images, texts, ranks, count=QUERIES, top=IMAGE_TOP),
        notes=(*corpus.notes, *chosen.notes),
    )


def _annotated(path: Path, corpus: Corpus, store: RegionStore) -> tuple[Annotated | None, str]:
    try:
        annotations = read_annotations(path)
    except DataError as error:
        return None, error.message
    if annotations.fingerprint != corpus.fingerprint:
        return None, f"{path} was made from other captions than {corpus.source}"
    concepts = ImageConcepts.of_store(store, min_score=store.score_threshold)
    return (
        Annotated(
            annotations,
            measure_coverage(annotations, concepts),
            _suggestions(annotations, corpus, store),
            DEFAULT,
        ),
        "",
    )


def _suggestions(annotations: Annotations, corpus: Corpus, store: RegionStore) -> dict[str, str]:
    """What ``weaksup suggest`` begins with; nothing where every readable image is annotated."""
    unreadable = {name for name, _ in store.problems}
    if not set(store.ids).difference(unreadable).intersection(annotations.unannotated):
        return {}
    pool = Pool(store=store, corpus=corpus, annotations=annotations, run=None, seed=0)
    return pool.rank(DEFAULT, count=SUGGESTED).reasons


def own_captions(evaluated: Evaluated, image: int) -> Sequence[str]:
    """The captions of an image, by its position."""
    return [
        caption
        for caption, owner in zip(evaluated.captions, evaluated.caption_image, strict=True)
        if owner == image
    ]
