"""Which queries a model does best and worst, and what they find.

Letters: N images, C captions, Q queries, G candidates, d embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.ranking import Ranks
from weaksup.types import Float32, Int64

CHUNK = 512


@dataclass(frozen=True)
class Query:
    """One query and its first results.

    Attributes:
        query: position of the caption, or of the image.
        rank: of the right answer, from 1.
        results: positions of the candidates, the best first.
        scores: theirs.
        right: whether each is a right answer.
    """

    query: int
    rank: int
    results: tuple[int, ...]
    scores: tuple[float, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True)
class Extremes:
    """The best and the worst queries of a direction, from different images all of them."""

    best: tuple[Query, ...]
    worst: tuple[Query, ...]


def text_extremes(
    images: Float32, texts: Float32, ranks: Ranks, *, count: int, top: int
) -> Extremes:
    """Captions as queries; see :func:`image_extremes`."""
    return _extremes(
        texts,
        images,
        ranks.text_to_image,
        query_image=ranks.caption_image,
        candidate_image=np.arange(len(images), dtype=np.int64),
        count=count,
        top=top,
    )


def image_extremes(
    images: Float32, texts: Float32, ranks: Ranks, *, count: int, top: int
) -> Extremes:
    """Images as queries.

    The best are those of rank 1 whose right answer is furthest ahead of the first wrong one; the
    worst are those of the greatest rank. Of equals, those that come first.

    Args:
        images: (N, d) float32.
        texts: (C, d) float32.
        ranks: of one gallery.
        count: queries of each kind, at most.
        top: results of each, at most.
    """
    return _extremes(
        images,
        texts,
        ranks.image_to_text,
        query_image=np.arange(len(images), dtype=np.int64),
        candidate_image=ranks.caption_image,
        count=count,
        top=top,
    )


def _extremes(
    queries: Float32,
    candidates: Float32,
    ranks: Int64,
    *,
    query_image: Int64,
    candidate_image: Int64,
    count: int,
    top: int,
) -> Extremes:
    first = np.flatnonzero(ranks == 1)
    ahead = _margins(queries[first], candidates, query_image[first], candidate_image)
    best = first[np.argsort(-ahead, kind="stable")]
    worst = np.argsort(-ranks, kind="stable")
    worst = worst[ranks[worst] > 1]

    def found(order: Int64) -> tuple[Query, ...]:
        chosen = _of_different_images(order, query_image, count=count)
        return tuple(
            _answer(place, queries, candidates, ranks, query_image, candidate_image, top=top)
            for place in chosen
        )

    return Extremes(found(best), found(worst))


def _margins(
    queries: Float32, candidates: Float32, query_image: Int64, candidate_image: Int64
) -> npt.NDArray[np.float32]:
    """(Q,) how far the best right candidate is ahead of the best wrong one."""
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(queries), CHUNK):
        scores = queries[start : start + CHUNK] @ candidates.T
        right = query_image[start : start + CHUNK, None] == candidate_image[None]
        good = np.where(right, scores, -np.inf).max(1)
        bad = np.where(right, -np.inf, scores).max(1)
        parts.append((good - bad).astype(np.float32))
    return np.concatenate(parts)


def _of_different_images(order: Int64, query_image: Int64, *, count: int) -> list[int]:
    chosen: dict[int, int] = {}
    for place in order.tolist():
        if len(chosen) == count:
            break
        chosen.setdefault(int(query_image[place]), place)
    return list(chosen.values())


def _answer(
    place: int,
    queries: Float32,
    candidates: Float32,
    ranks: Int64,
    query_image: Int64,
    candidate_image: Int64,
    *,
    top: int,
) -> Query:
    scores = candidates @ queries[place]
    order = np.argsort(-scores, kind="stable")[:top]
    return Query(
        query=place,
        rank=int(ranks[place]),
        results=tuple(order.tolist()),
        scores=tuple(scores[order].tolist()),
        right=tuple((candidate_image[order] == query_image[place]).tolist()),
    )
