"""Recall@K the way the field reports it. docs/metrics.md defines each figure.

Letters: N images, C captions, d embedding width.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from trainer.data import EvaluationSet
from trainer.metrics import mean_metrics, recall_metrics, rsum
from trainer.ranking import Ranks, rank_embeddings, rank_scores
from trainer.reranking import RerankOptions, RerankResult, rerank
from weaksup.errors import DataError, UsageError
from weaksup.store import RegionStore, readable_ids
from weaksup.types import (
    TEST,
    VAL,
    CaptionedImage,
    Corpus,
    Float32,
    Int64,
)
from weaksup.wording import counted

if TYPE_CHECKING:
    from trainer.pairs import PairScores

ProtocolName = Literal["auto", "full", "folds-1k"]
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)

FOLDS, FOLD_SIZE = 5, 1000

# (n,) images, (c,) captions and (c,) the position among these images of each caption's own.
Rank = Callable[[Int64, Int64, Int64], Ranks]


class TwoTowers(Protocol):
    """What embeds both sides, such as a run that was loaded."""

    def encode_images(self, store: RegionStore, indices: Int64) -> Float32:
        """(N, d) embeddings of the images at (N,) positions of the store."""

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """(C, d) embeddings of sentences."""


@runtime_checkable
class PairTowers(Protocol):
    """What may compare pair by pair, such as a run that was loaded."""

    @property
    def compares_pairs(self) -> bool:
        """Whether there are no embeddings."""

    def pair_scores(self, store: RegionStore, indices: Int64, texts: Sequence[str]) -> PairScores:
        """Scores of the images at (N,) positions of the store and C sentences."""


@dataclass(frozen=True)
class SplitImages:
    """The images that an evaluation ranks.

    Attributes:
        name: ``val`` where ``test`` was wanted and there is none.
        images: with one or more captions each and readable, in the order of the corpus.
        notes: what was left out or replaced, and why, a sentence each.
    """

    name: str
    images: tuple[CaptionedImage, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationResult:
    """What one evaluation found.

    Attributes:
        image_to_text: ``R@1``, ``R@5``, ``R@10`` in percent, ``median_rank``, ``mean_rank``; the
            mean over the folds.
        text_to_image: the same for captions as queries.
        rsum: the sum of the six recalls.
        images: N, over all folds.
        captions: C, over all folds.
        protocol: what was run: ``full`` or ``folds-1k``, never ``auto``.
        folds: the ranks behind the figures, one item a fold.
        rerank: the figures after re-ranking; None if there was none. All others are before it.
    """

    image_to_text: dict[str, float]
    text_to_image: dict[str, float]
    rsum: float
    images: int
    captions: int
    protocol: str
    folds: tuple[Ranks, ...]
    rerank: RerankResult | None = None

    def report(self, *, split: str, model: str, run: str) -> dict[str, Any]:
        """The content of ``evaluation-SPLIT.json``."""
        return {
            "image_to_text": self.image_to_text,
            "text_to_image": self.text_to_image,
            "rsum": self.rsum,
            "images": self.images,
            "captions": self.captions,
            "protocol": self.protocol,
            "split": split,
            "model": model,
            "run": run,
            **({} if self.rerank is None else {"rerank": self.rerank.report()}),
        }


def choose_split(corpus: Corpus, store: RegionStore, wanted: str) -> SplitImages:
    """The images of a split that can be ranked; ``val`` where there are none of ``test``.

    Args:
        corpus: with splits, and with the ids of the store (``match_ids``).
        store: that the images' regions are read from.
        wanted: ``train``, ``val`` or ``test``.

    Raises:
        DataError: if there is no such image.
    """
    readable = {*readable_ids(store)}
    for name in (TEST, VAL) if wanted == TEST else (wanted,):
        captioned = [image for image in corpus.split(name) if image.captions]
        images = tuple(image for image in captioned if image.id in readable)
        if not images:
            continue
        notes = []
        if name != wanted:
            notes.append(f"no image of the store is in the split {wanted}: {name} is used instead")
        if len(images) < len(captioned):
            lost = len(captioned) - len(images)
            notes.append(f"{counted(lost, 'image')} of {name} could not be read: left out")
        return SplitImages(name, images, tuple(notes))
    raise DataError(
        f"no captioned image of {corpus.source} is in the split {wanted} and in the store "
        f"{store.path}",
        "name another split with --split, or other data with --captions and --regions",
    )


def evaluate_images(
    towers: TwoTowers,
    store: RegionStore,
    images: Sequence[CaptionedImage],
    *,
    protocol: ProtocolName = "auto",
    rerank_options: RerankOptions | None = None,
) -> EvaluationResult:
    """Embed images and their captions, and ``evaluate_embeddings`` of them.

    A model without embeddings scores every pair: ``evaluate_scores``.

    Raises:
        UsageError: if the protocol, or re-ranking, is not for such images or such a model.
    """
    found = evaluate_protocols(towers, store, images, (protocol,), rerank_options=rerank_options)
    return found[protocol]


def evaluate_protocols(
    towers: TwoTowers,
    store: RegionStore,
    images: Sequence[CaptionedImage],
    protocols: Sequence[ProtocolName],
    *,
    rerank_options: RerankOptions | None = None,
) -> dict[str, EvaluationResult]:
    """The same by several protocols: images and captions are embedded once.

    Raises:
        UsageError: if a protocol, or re-ranking, is not for such images or such a model.
    """
    for name in protocols:
        check_protocol(name, images=len(images))
    ranked = EvaluationSet.build(store, images)
    owner = ranked.caption_image
    if isinstance(towers, PairTowers) and towers.compares_pairs:
        if rerank_options is not None:
            raise UsageError(
                "this model compares all pairs by cross attention: nothing is left to re-rank",
                "leave --rerank away",
            )
        scores = towers.pair_scores(store, ranked.rows, ranked.captions)
        return {name: evaluate_scores(scores, owner, protocol=name) for name in protocols}
    # Before the work of embedding: a model may have nothing to re-rank by.
    second = _second_scores(towers, store, ranked) if rerank_options is not None else None
    image_rows = towers.encode_images(store, ranked.rows)
    text_rows = towers.encode_texts(ranked.captions)
    found: dict[str, EvaluationResult] = {
        name: evaluate_embeddings(image_rows, text_rows, owner, protocol=name) for name in protocols
    }
    if second is None or rerank_options is None:
        return found
    return {
        name: replace(
            result, rerank=_rerank(image_rows, text_rows, second, owner, result, rerank_options)
        )
        for name, result in found.items()
    }


def _second_scores(towers: TwoTowers, store: RegionStore, ranked: EvaluationSet) -> PairScores:
    if not isinstance(towers, PairTowers):
        raise UsageError("there is nothing to re-rank by", "leave --rerank away")
    return towers.pair_scores(store, ranked.rows, ranked.captions)


def check_protocol(protocol: str, *, images: int) -> None:
    """Refuse a protocol that is unknown or not defined for so many images.

    Raises:
        UsageError: if it is.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{protocol}'", f"known: {', '.join(PROTOCOLS)}")
    if protocol == "folds-1k" and images != FOLDS * FOLD_SIZE:
        raise UsageError(
            f"the protocol folds-1k is defined for 5,000 images, here are {images:,}",
            "use --protocol full",
        )


def evaluate_embeddings(
    images: npt.ArrayLike,
    texts: npt.ArrayLike,
    caption_image: npt.ArrayLike,
    *,
    protocol: ProtocolName = "auto",
) -> EvaluationResult:
    """Rank images and captions against one another and sum up.

    Args:
        images: (N, d), cast to float32; in the order of the corpus, which ``folds-1k`` cuts.
        texts: (C, d), cast to float32.
        caption_image: (C,) integers, the image of each caption; each image has one or more.
        protocol: ``full`` ranks among all images and captions; ``folds-1k`` is the mean over five
            sequential folds of 1,000 images (COCO 1K); ``auto`` is ``full`` whatever the size,
            because figures of two protocols cannot be compared.

    Raises:
        UsageError: if ``folds-1k`` is asked of another number of images than 5,000.
        DataError: if an embedding is not finite.
    """
    image_rows, text_rows = np.asarray(images), np.asarray(texts)

    def rank(image: Int64, caption: Int64, owner: Int64) -> Ranks:
        return rank_embeddings(image_rows[image], text_rows[caption], owner)

    return _evaluate(rank, caption_image, images=len(image_rows), protocol=protocol)


def evaluate_scores(
    scores: PairScores, caption_image: npt.ArrayLike, *, protocol: ProtocolName = "auto"
) -> EvaluationResult:
    """The same for images and captions that are compared pair by pair.

    Raises:
        UsageError: if ``folds-1k`` is asked of another number of images than 5,000.
        DataError: if a score is not a number.
    """

    def rank(image: Int64, caption: Int64, owner: Int64) -> Ranks:
        return rank_scores(
            lambda rows, columns: scores(image[rows], caption[columns]),
            owner,
            images=len(image),
            image_class=scores.image_class[image],
            caption_class=scores.caption_class[caption],
        )

    return _evaluate(rank, caption_image, images=len(scores.images), protocol=protocol)


def _evaluate(
    rank: Rank, caption_image: npt.ArrayLike, *, images: int, protocol: ProtocolName
) -> EvaluationResult:
    check_protocol(protocol, images=images)
    owner = np.asarray(caption_image, dtype=np.int64)
    folds = tuple(rank(*fold) for fold in _folds(owner, images=images, protocol=protocol))
    image_to_text, text_to_image, total = _summary(folds)
    return EvaluationResult(
        image_to_text=image_to_text,
        text_to_image=text_to_image,
        rsum=total,
        images=images,
        captions=len(owner),
        protocol="folds-1k" if protocol == "folds-1k" else "full",
        folds=folds,
    )


def _folds(owner: Int64, *, images: int, protocol: str) -> Iterator[tuple[Int64, Int64, Int64]]:
    """Images and captions of each gallery, and the captions' own images in it."""
    size = FOLD_SIZE if protocol == "folds-1k" else images
    for start in range(0, images, size):
        inside = np.flatnonzero((owner >= start) & (owner < start + size))
        yield np.arange(start, start + size), inside, owner[inside] - start


def _summary(folds: Sequence[Ranks]) -> tuple[dict[str, float], dict[str, float], float]:
    """The figures of both directions and rsum."""
    image_to_text = mean_metrics([recall_metrics(fold.image_to_text) for fold in folds])
    text_to_image = mean_metrics([recall_metrics(fold.text_to_image) for fold in folds])
    return image_to_text, text_to_image, rsum(image_to_text, text_to_image)


def _rerank(
    images: Float32,
    texts: Float32,
    scores: PairScores,
    owner: Int64,
    plain: EvaluationResult,
    options: RerankOptions,
) -> RerankResult:
    """Re-rank every gallery that ``plain`` ranked."""

    def second(image: Int64, caption: Int64) -> Callable[[Int64, Int64], Float32]:
        return lambda rows, columns: scores.paired(image[rows], caption[columns])

    found = [
        rerank(
            images[image],
            texts[caption],
            own,
            second=second(image, caption),
            top=options.top,
            weight=options.weight,
        )
        for image, caption, own in _folds(owner, images=len(images), protocol=plain.protocol)
    ]
    folds = tuple(one.ranks for one in found)
    image_to_text, text_to_image, total = _summary(folds)
    seconds = sum(one.seconds for one in found)
    return RerankResult(
        options=options,
        image_to_text=image_to_text,
        text_to_image=text_to_image,
        rsum=total,
        gain=total - plain.rsum,
        pairs=sum(one.pairs for one in found),
        seconds=seconds,
        queries_per_second=(len(images) + len(texts)) / seconds,
        folds=folds,
    )


def write_evaluation(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        UsageError: if the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "name another file"
        ) from error


def read_evaluations(folder: Path) -> dict[str, dict[str, Any]]:
    """The reports in a run's folder: ``test``, ``val``, ``test-other`` and so on, by name.

    Raises:
        DataError: if one is damaged.
    """
    found = {}
    for path in sorted(folder.glob("evaluation-*.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            for way in ("image_to_text", "text_to_image"):
                rsum(report[way], report[way])
            float(report["rsum"]), int(report["images"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is damaged: {error!r}", "delete it, and run `weaksup evaluate` again"
            ) from error
        found[path.stem.removeprefix("evaluation-")] = report
    return found
