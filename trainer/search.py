"""Nearest embeddings, exactly.

Letters: N rows of a gallery, d embedding width, S slack columns, k results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weaksup.types import Float32, Int64

# Rows of a product: read from a mapped file, they stay in the processor's cache until they are
# multiplied, and memory stays bounded.
CHUNK = 16384


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        image: its id.
        score: similarity to what was searched for.
    """

    image: str
    score: float


@dataclass(frozen=True)
class CaptionHit:
    """A caption that was found.

    Attributes:
        caption: the sentence.
        image: the id of the image that it was written for.
        score: similarity to what was searched for.
    """

    caption: str
    image: str
    score: float


@dataclass(frozen=True)
class Gallery:
    """Embeddings of one side, images or sentences, to search in.

    Two embeddings of different sides are compared by their product. Two of one side are compared
    by the cosine of what stands before the slack columns: these make up for what is missing in
    length, so that images of which little is known would all be alike in them, and nearest to
    one another.

    Attributes:
        rows: (N, d) float32, of length 1; may be mapped from a file.
        slack: S, how many last columns only complete the length.
    """

    rows: Float32
    slack: int

    def __len__(self) -> int:
        return len(self.rows)

    def query(self, embedding: Float32, *, same_side: bool) -> Float32:
        """(d,) what the rows are multiplied with to compare them with (d,) ``embedding``."""
        if not (same_side and self.slack):
            return embedding
        query = embedding.copy()
        query[-self.slack :] = 0
        return query / _positive(np.linalg.norm(query))

    def scores(
        self, query: Float32, *, same_side: bool, places: Int64 | slice = slice(None)
    ) -> Float32:
        """(n,) similarities of the rows at ``places`` to what :meth:`query` gave."""
        rows = self.rows[places]
        product: Float32 = rows @ query
        if same_side and self.slack:
            missing = np.square(rows[:, -self.slack :]).sum(1)
            product = product / _positive(np.sqrt(np.clip(1 - missing, 0, None)))
        return product

    def nearest(
        self, embedding: Float32, *, top: int, same_side: bool = False
    ) -> tuple[Int64, Float32]:
        """The most similar rows.

        Args:
            embedding: (d,) float32, of length 1.
            top: k.
            same_side: whether the embedding is of the same side as the rows.

        Returns:
            (k,) int64 places and (k,) float32 scores, the best first, the first place of equal
            ones first; fewer if N is less.
        """
        query = self.query(embedding, same_side=same_side)
        parts = [
            self.scores(query, same_side=same_side, places=slice(start, start + CHUNK))
            for start in range(0, len(self), CHUNK)
        ]
        return best(np.concatenate(parts) if parts else np.zeros(0, np.float32), top)

    def nearest_of(
        self, embedding: Float32, places: Int64, *, top: int, same_side: bool = False
    ) -> tuple[Int64, Float32]:
        """``nearest``, among the (n,) rows at ``places`` alone."""
        places = np.sort(places)  # so that a mapped file is read in one direction
        query = self.query(embedding, same_side=same_side)
        chosen, scores = best(self.scores(query, same_side=same_side, places=places), top)
        return places[chosen], scores


def best(scores: Float32, top: int) -> tuple[Int64, Float32]:
    """Places and values of the ``top`` largest of (N,) scores, falling, equal ones by place."""
    top = min(top, len(scores))
    if top < 1:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    # Whatever equals the last one is kept until the order is by place.
    least = np.partition(scores, -top)[-top]
    places = np.flatnonzero(scores >= least)
    places = places[np.argsort(-scores[places], kind="stable")[:top]]
    return places.astype(np.int64), scores[places]


def image_hits(ids: Sequence[str], places: Int64, scores: Float32) -> list[Hit]:
    """Results with their names."""
    return [
        Hit(ids[place], score)
        for place, score in zip(places.tolist(), scores.tolist(), strict=True)
    ]


def _positive(length: np.floating | Float32) -> Float32:
    """``length``, where it is 0 a length that leaves 0 what is divided by it."""
    return np.maximum(length, np.float32(1e-12))
