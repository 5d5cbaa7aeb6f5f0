"""Re-ranking: the best of a global list in a new order, by a second score that is dearer.

The list of a query is its K best candidates by the global score, and whatever ties with the last
of them. They are put in the order of ``global + weight * second``; all others keep their place
behind the list. Ties take the worst place, as in ``trainer.ranking``.

Letters: N images, C captions, Q queries, M candidates, P pairs, K the list, d embedding width.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.ranking import DIVERGED, Ranks, copies
from weaksup.errors import DataError
from weaksup.types import Float32, Int64

# (P,) images, (P,) captions -> (P,) float32 scores, higher is better.
PairedScore = Callable[[Int64, Int64], Float32]

# Of the cross attention beside the global similarity: the best on held-out training images of
# those that were tried, which is the smallest (docs/experiments.md).
RERANK_WEIGHT = 0.02

# Scores held at once: 128 MB.
CHUNK = 2**25


@dataclass(frozen=True)
class RerankOptions:
    """How the top of every list is re-ranked.

    Attributes:
        top: K, candidates of a list.
        weight: of the cross attention beside the global similarity.
    """

    top: int
    weight: float = RERANK_WEIGHT


@dataclass(frozen=True)
class RerankResult:
    """What re-ranking came to.

    Attributes:
        options: that it was done with.
        image_to_text: as ``trainer.evaluate.EvaluationResult`` has it.
        text_to_image: the same.
        rsum: the same.
        gain: how much more than without.
        pairs: that were compared by cross attention.
        seconds: of the lists and the cross attention; encoding is not in them.
        queries_per_second: images and captions.
        folds: the ranks behind the figures.
    """

    options: RerankOptions
    image_to_text: dict[str, float]
    text_to_image: dict[str, float]
    rsum: float
    gain: float
    pairs: int
    seconds: float
    queries_per_second: float
    folds: tuple[Ranks, ...]

    def report(self) -> dict[str, Any]:
        """The content of ``rerank`` in ``evaluation-SPLIT.json``."""
        return {
            "top": self.options.top,
            "weight": self.options.weight,
            "image_to_text": self.image_to_text,
            "text_to_image": self.text_to_image,
            "rsum": self.rsum,
            "gain": self.gain,
            "pairs": self.pairs,
            "seconds": self.seconds,
            "queries_per_second": self.queries_per_second,
        }


@dataclass(frozen=True)
class Reranked:
    """What re-ranking came to.

    Attributes:
        ranks: in both directions.
        pairs: P, how many the second score was asked for.
        seconds: that it took.
    """

    ranks: Ranks
    pairs: int
    seconds: float


@dataclass(frozen=True)
class _Lists:
    """The lists of all queries of one direction, one after the other.

    Attributes:
        query: (P,) int64.
        candidate: (P,) int64.
        score: (P,) float32, global.
        behind: (Q,) int64, the rank of the query's best right candidate by the global score.
    """

    query: Int64
    candidate: Int64
    score: Float32
    behind: Int64


def rerank(
    images: Float32,
    texts: Float32,
    caption_image: npt.ArrayLike,
    *,
    second: PairedScore,
    top: int,
    weight: float,
    image_class: Int64 | None = None,
    caption_class: Int64 | None = None,
) -> Reranked:
    """Rank by dot products, and the top of every list by the sum with a second score.

    Args:
        images: (N, d) float32.
        texts: (C, d) float32.
        caption_image: (C,) integers, the image of each caption. Every image has at least one.
        second: asked once for each pair of an image and a caption that is in a list of either.
        top: K. The captions of an image count in its list like any others.
        weight: of the second score beside the global one.
        image_class: (N,) int64, equal where images are copies: the place of the first; None to
            take equal embeddings for copies.
        caption_class: (C,) int64, the same for captions.

    Raises:
        DataError: if a second score is not a number.
    """
    began = time.monotonic()
    owner = np.asarray(caption_image, dtype=np.int64)
    if image_class is None:
        image_class = copies((row + 0.0).tobytes() for row in images)
    if caption_class is None:
        caption_class = copies((row + 0.0).tobytes() for row in texts)
    own = np.arange(len(images))
    of_texts = _lists(texts, images, image_class, owner, own, top)
    of_images = _lists(images, texts, caption_class, own, owner, top)
    # Copies have one score, by definition and not up to the last bit.
    keys = np.concatenate(
        (
            image_class[of_texts.candidate] * len(texts) + caption_class[of_texts.query],
            image_class[of_images.query] * len(texts) + caption_class[of_images.candidate],
        )
    )
    pairs, place = np.unique(keys, return_inverse=True)
    scores = second(pairs // len(texts), pairs % len(texts))
    if np.isnan(scores).any():
        raise DataError(
            "the cross attention of some pairs is not a number",
            DIVERGED,
        )
    found = scores[place].astype(np.float64) * weight
    cut = len(of_texts.query)
    ranks = Ranks(
        image_to_text=_ranks(of_images, found[cut:], own, owner),
        text_to_image=_ranks(of_texts, found[:cut], owner, own),
        caption_image=owner,
    )
    return Reranked(ranks, len(pairs), time.monotonic() - began)


def _lists(
    queries: Float32,
    candidates: Float32,
    candidate_class: Int64,
    query_owner: Int64,
    candidate_owner: Int64,
    top: int,
) -> _Lists:
    """The lists of one direction.

    Args:
        queries: (Q, d).
        candidates: (M, d).
        candidate_class: (M,), equal where candidates are copies.
        query_owner: (Q,), the image that each query shows or names.
        candidate_owner: (M,); equal numbers are right pairs.
        top: K.
    """
    kept = min(top, len(candidates))
    parts = []
    behind = np.empty(len(queries), dtype=np.int64)
    size = max(1, CHUNK // len(candidates))
    for start in range(0, len(queries), size):
        rows = slice(start, start + size)
        scores = (queries[rows] @ candidates.T)[:, candidate_class]
        right = query_owner[rows, None] == candidate_owner
        best = np.where(right, scores, -np.inf).max(1, keepdims=True)
        behind[rows] = 1 + ((scores >= best) & ~right).sum(1)
        last = np.partition(scores, -kept, axis=1)[:, -kept, None]
        query, candidate = np.nonzero(scores >= last)
        parts.append((query + start, candidate, scores[query, candidate]))
    query, candidate, score = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Lists(query, candidate, score, behind)


def _ranks(
    lists: _Lists, second: npt.NDArray[np.float64], query_owner: Int64, candidate_owner: Int64
) -> Int64:
    """(Q,) the rank of each query's best right candidate."""
    total = lists.score + second
    right = query_owner[lists.query] == candidate_owner[lists.candidate]
    best = np.full(len(lists.behind), -np.inf)
    np.maximum.at(best, lists.query[right], total[right])
    ahead = ~right & (total >= best[lists.query])
    rank = 1 + np.bincount(lists.query[ahead], minlength=len(best))
    # A right candidate that is in no list stays where it was.
    return np.where(np.isfinite(best), rank, lists.behind)
