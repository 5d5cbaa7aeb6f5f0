"""Ranks by counting: the worst place for ties, in tiles, float32.

A rank is 1 plus the number of wrong candidates that score at least as well as the right one. So a
model that gives everything the same score is last everywhere, not first.

Letters: N images, C captions, n and c the images and captions of one tile, d embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from weaksup.errors import DataError
from weaksup.types import Float32, Int64

DIVERGED = (
    "the model has diverged: train again with a smaller learning rate; or the region store is "
    "damaged: extract or import it again with --overwrite"
)

# (n,) images, (c,) captions -> (n, c) float32 scores, higher is better.
ScoreFunction = Callable[[Int64, Int64], Float32]

# A tile of 1024 x 2048 float32 scores is 8 MB: small beside the embeddings, and large enough for
# the product to run at full speed.
IMAGE_CHUNK = 1024
CAPTION_CHUNK = 2048


@dataclass(frozen=True)
class Ranks:
    """Ranks in both directions within one gallery of N images and C captions, from 1.

    Attributes:
        image_to_text: (N,) int64, of each image's best-ranked caption among all captions that
            are not its own.
        text_to_image: (C,) int64, of each caption's image among all images.
        caption_image: (C,) int64, the image of each caption.
    """

    image_to_text: Int64
    text_to_image: Int64
    caption_image: Int64


def rank_embeddings(
    images: npt.ArrayLike,
    texts: npt.ArrayLike,
    caption_image: npt.ArrayLike,
    *,
    image_chunk: int = IMAGE_CHUNK,
    caption_chunk: int = CAPTION_CHUNK,
) -> Ranks:
    """Rank by dot products, never holding the (N, C) matrix.

    Equal embeddings tie, exactly: float32 products of equal vectors may differ in the last bit
    with their place in a tile, so equality is taken from the vectors and not from the scores.

    Args:
        images: (N, d), cast to float32; L2-normalised if cosines are meant.
        texts: (C, d), cast to float32.
        caption_image: (C,) integers, the image of each caption, in any order. Every image has at
            least one.
        image_chunk: n, images of a tile.
        caption_chunk: c, captions of a tile.

    Raises:
        DataError: if an embedding is not finite.
        ValueError: if the shapes do not fit or an image has no caption.

    Example:
        >>> ranks = rank_embeddings(images, texts, np.repeat(np.arange(len(images)), 5))
        >>> recall_metrics(ranks.text_to_image)["R@10"]
    """
    image_rows, text_rows = _finite(images, "image"), _finite(texts, "caption")
    owner = np.asarray(caption_image, dtype=np.int64)
    if image_rows.shape[1] != text_rows.shape[1] or len(text_rows) != len(owner):
        raise ValueError(
            f"images {image_rows.shape}, texts {text_rows.shape} and caption_image {owner.shape} "
            "do not fit: expected (N, d), (C, d) and (C,)"
        )

    def score(image: Int64, caption: Int64) -> Float32:
        product: Float32 = image_rows[image] @ text_rows[caption].T
        return product

    return _rank(
        score,
        owner,
        # Adding 0 makes the two zeros one.
        image_class=copies((row + 0.0).tobytes() for row in image_rows),
        caption_class=copies((row + 0.0).tobytes() for row in text_rows),
        image_chunk=image_chunk,
        caption_chunk=caption_chunk,
    )


def rank_scores(
    score: ScoreFunction,
    caption_image: npt.ArrayLike,
    *,
    images: int,
    image_class: npt.ArrayLike | None = None,
    caption_class: npt.ArrayLike | None = None,
    image_chunk: int = IMAGE_CHUNK,
    caption_chunk: int = CAPTION_CHUNK,
) -> Ranks:
    """Rank by any score function, such as cross attention; scores that are equal tie.

    Every tile is asked for once; the pairs of an image and its own captions, which set the score
    to beat, are asked for once more, before.

    Args:
        score: (n,) int64 images, (c,) int64 captions -> (n, c) scores, cast to float32. A pair's
            score must not depend on what else is in the tile.
        caption_image: (C,) integers, the image of each caption, in any order.
        images: N.
        image_class: (N,) integers, equal for images that are copies: they tie whatever their
            scores; None where none are.
        caption_class: (C,) integers, the same for captions.
        image_chunk: n, at most.
        caption_chunk: c, at most.

    Raises:
        DataError: if a score is NaN.
        ValueError: if an image has no caption, or a caption no image.
    """
    owner = np.asarray(caption_image, dtype=np.int64)
    return _rank(
        score,
        owner,
        image_class=np.arange(images) if image_class is None else np.asarray(image_class),
        caption_class=(
            np.arange(len(owner)) if caption_class is None else np.asarray(caption_class)
        ),
        image_chunk=image_chunk,
        caption_chunk=caption_chunk,
    )


def _rank(
    score: ScoreFunction,
    owner: Int64,
    *,
    image_class: Int64,
    caption_class: Int64,
    image_chunk: int,
    caption_chunk: int,
) -> Ranks:
    """Count in tiles. Images, and captions, of one class are copies: they tie by definition."""
    count = len(image_class)
    _check_owner(owner, count)
    # In the order of their images, an image's captions are neighbours, and so are the tiles that
    # hold right pairs.
    order = np.argsort(owner, kind="stable")
    sorted_owner = owner[order]
    right, best = _right_scores(score, order, sorted_owner, image_chunk, caption_chunk)
    best_score = right[best]
    image_copies = len(np.unique(image_class)) < count
    caption_copies = len(np.unique(caption_class)) < len(owner)
    caption_class, best_class = caption_class[order], caption_class[order][best]
    right_class = image_class[sorted_owner]
    above_image, above_text = np.ones(count, np.int64), np.ones(len(owner), np.int64)
    for rows, columns in _tiles(count, len(owner), image_chunk, caption_chunk):
        scores = _checked(score, rows, order[columns])
        own = _own_pairs(sorted_owner[columns], rows)
        beats = scores >= best_score[rows, None]
        if caption_copies:
            beats |= best_class[rows, None] == caption_class[None, columns]
        beats[own] = False
        above_image[rows] += np.count_nonzero(beats, axis=1)
        beats = scores >= right[None, columns]
        if image_copies:
            beats |= image_class[rows, None] == right_class[None, columns]
        beats[own] = False
        above_text[columns] += np.count_nonzero(beats, axis=0)
    text_to_image = np.empty_like(above_text)
    text_to_image[order] = above_text
    return Ranks(image_to_text=above_image, text_to_image=text_to_image, caption_image=owner)


def _right_scores(
    score: ScoreFunction, order: Int64, sorted_owner: Int64, image_chunk: int, caption_chunk: int
) -> tuple[Float32, Int64]:
    """The (C,) score of each caption, sorted by image, with its image; the (N,) best place."""
    right = np.empty(len(order), dtype=np.float32)
    chunk = min(image_chunk, caption_chunk)
    for start in range(0, len(order), chunk):
        columns = np.arange(start, min(start + chunk, len(order)))
        rows = np.unique(sorted_owner[columns])
        scores = _checked(score, rows, order[columns])
        own = _own_pairs(sorted_owner[columns], rows)
        right[columns[own[1]]] = scores[own]
    # Sorted by image, then by falling score: each image's first is its best.
    ranked = np.lexsort((-right, sorted_owner))
    first = np.concatenate(([True], sorted_owner[1:] != sorted_owner[:-1]))
    return right, ranked[first]


def _own_pairs(owner: Int64, rows: Int64) -> tuple[Int64, Int64]:
    """Where a tile holds an image and its own caption: places in ``rows``, places in the tile.

    ``rows`` rises.
    """
    place = np.searchsorted(rows, owner)
    inside = place < len(rows)
    inside[inside] = rows[place[inside]] == owner[inside]
    return place[inside], np.flatnonzero(inside)


def _tiles(
    images: int, captions: int, image_chunk: int, caption_chunk: int
) -> Iterator[tuple[Int64, Int64]]:
    for row in range(0, images, image_chunk):
        rows = np.arange(row, min(row + image_chunk, images))
        for column in range(0, captions, caption_chunk):
            yield rows, np.arange(column, min(column + caption_chunk, captions))


def _checked(score: ScoreFunction, rows: Int64, columns: Int64) -> Float32:
    scores: Float32 = np.asarray(score(rows, columns), dtype=np.float32)
    if scores.shape != (len(rows), len(columns)):
        raise ValueError(f"score gave {scores.shape} for {len(rows)} x {len(columns)} pairs")
    # NaN compares false with everything and would rank first.
    if np.isnan(scores.min()):
        raise DataError(
            f"the similarity of some of images {rows[0]} to {rows[-1]} is not a number",
            DIVERGED,
        )
    return scores


def _check_owner(owner: Int64, images: int) -> None:
    if not images or owner.ndim != 1 or not len(owner):
        raise ValueError(f"nothing to rank: {images} images, captions of shape {owner.shape}")
    if owner.min() < 0 or owner.max() >= images:
        raise ValueError(f"caption_image must lie in 0..{images - 1}")
    lonely = np.flatnonzero(np.bincount(owner, minlength=images) == 0)
    if len(lonely):
        raise ValueError(f"{len(lonely)} images have no caption, image {lonely[0]} is the first")


def _finite(rows: npt.ArrayLike, kind: str) -> Float32:
    result: Float32 = np.ascontiguousarray(rows, dtype=np.float32)
    if result.ndim != 2:
        raise ValueError(f"{kind} embeddings have shape {result.shape}, expected two dimensions")
    bad = np.flatnonzero(~np.isfinite(result).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(result)} {kind} embeddings are not finite, {kind} {bad[0]} is "
            "the first",
            DIVERGED,
        )
    return result


def copies(items: Iterable[bytes]) -> Int64:
    """(items,) int64, equal where items are equal: the place of the first of them."""
    # Digests instead of the items: 16 bytes each.
    digests: dict[bytes, int] = {}
    return np.array(
        [
            digests.setdefault(blake2b(item, digest_size=16).digest(), place)
            for place, item in enumerate(items)
        ],
        dtype=np.int64,
    )
