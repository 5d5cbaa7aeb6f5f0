"""Orders of un-annotated images, the one that is most worth a caption first, each with its reason.

Letters: N images, C captions, d embedding width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from weaksup.diversity import representative_first
from weaksup.subsample import ImageConcepts, suggest
from weaksup.types import Annotations, Float32, Int64

# In the reciprocal of a rank: how little the very first ranks count before the next ones.
RANK_OFFSET = 60
_NAMED = 4
_CHUNK = 256


@dataclass(frozen=True)
class Ranking:
    """Images, the best first.

    Attributes:
        name: of the strategy.
        reasons: image -> why it is where it is; the order is that of the images.
    """

    name: str
    reasons: dict[str, str]


def shuffled(images: Sequence[str], *, seed: int) -> list[str]:
    """The seed's order, in which an image's place among others depends on no third one."""

    def key(image: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{image}".encode()).digest()

    return sorted(images, key=key)


def by_chance(candidates: Sequence[str]) -> Ranking:
    """The candidates as they stand."""
    return Ranking("random", dict.fromkeys(candidates, "drawn at random"))


def by_coverage(annotations: Annotations, concepts: ImageConcepts, *, count: int) -> Ranking:
    """Images whose concepts the annotated ones cover least (``weaksup.subsample.suggest``).

    Images that add nothing are left out.
    """
    reasons = {}
    for each in suggest(annotations, concepts, count=count):
        named = ", ".join(f"{name} ({covered})" for name, covered in each.concepts[:_NAMED])
        reasons[each.image] = f"shows what few annotated images do: {named}"
    return Ranking("coverage", reasons)


def by_diversity(
    candidates: Sequence[str], vectors: Float32, taken: Float32, *, count: int
) -> Ranking:
    """Images that stand for how the un-annotated ones look, as far as the annotated ones do not.

    Args:
        candidates: N images, shuffled.
        vectors: (N, D) float32, how they look, of length 1.
        taken: (S, D) float32, how the annotated ones look.
        count: images, at most.
    """
    reasons = {}
    for place in islice(representative_first(vectors, taken=taken), count):
        nearest = float((taken @ vectors[place]).max(initial=-1)) if len(taken) else None
        reasons[candidates[place]] = "stands for images that look like it" + (
            f"; the nearest annotated one has cosine {nearest:.2f}" if nearest is not None else ""
        )
    return Ranking("diverse", reasons)


def by_uncertainty(
    candidates: Sequence[str], images: Float32, captions: Float32, owner: Int64
) -> Ranking:
    """Images for which a run can least decide between the kept captions of two images.

    The margin: the similarity of the best kept caption less that of the best one of any other
    annotated image. Source: Scheffer, Decomain, Wrobel, "Active Hidden Markov Models for
    Information Extraction", 2001; here sentences are the classes.

    Args:
        candidates: N images.
        images: (N, d) float32, their embeddings.
        captions: (C, d) float32, embeddings of the kept captions.
        owner: (C,) int64, the annotated image of each, from 0.
    """
    margins = uncertainty_margins(images, captions, owner)
    order = np.argsort(margins, kind="stable")
    return Ranking(
        "uncertain",
        {
            candidates[place]: "the run cannot tell between captions of two images: "
            f"their similarities differ by {margins[place]:.3f}"
            for place in order
        },
    )


def uncertainty_margins(images: Float32, captions: Float32, owner: Int64) -> Float32:
    """(N,) float32: how far the best caption is ahead of the best one of another image.

    Infinite where all captions are of one image. Arguments as ``by_uncertainty`` has them.
    """
    margins = np.full(len(images), np.inf, np.float32)
    if len(set(owner.tolist())) < 2:
        return margins
    for start in range(0, len(images), _CHUNK):
        similarities = images[start : start + _CHUNK] @ captions.T
        best = similarities.argmax(axis=1)
        top = similarities.max(axis=1)
        others = np.where(owner[best][:, None] == owner[None, :], -np.inf, similarities)
        margins[start : start + len(top)] = top - others.max(axis=1)
    return margins


def fused(rankings: Sequence[Ranking]) -> Ranking:
    """One order of several: each image has the sum over them of 1 / (60 + rank).

    Ranks can be added where the figures behind them have no common measure. An image that a ranking
    leaves out gets nothing from it. Equals stand as in the first ranking. Source: Cormack, Clarke,
    Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods",
    SIGIR 2009.
    """
    sums: dict[str, float] = {}
    ranks: dict[str, list[str]] = {}
    for ranking in rankings:
        for rank, image in enumerate(ranking.reasons, start=1):
            sums[image] = sums.get(image, 0.0) + 1 / (RANK_OFFSET + rank)
            ranks.setdefault(image, []).append(f"{ranking.name} {rank:,}")
    order = sorted(sums, key=lambda image: -sums[image])
    return Ranking("mixed", {image: "rank " + ", ".join(ranks[image]) for image in order})
