"""Recall@K, median and mean rank, rsum, and how sure they are. Pure functions of ranks.

Letters: N images, C captions, Q queries, S bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trainer.ranking import Ranks
from weaksup.types import Int64

RECALLS = (1, 5, 10)

Float64 = npt.NDArray[np.float64]


def recall_metrics(ranks: npt.ArrayLike) -> dict[str, float]:
    """Summary of one direction.

    Args:
        ranks: (Q,) integers from 1.

    Returns:
        ``R@1``, ``R@5``, ``R@10`` in percent, ``median_rank`` and ``mean_rank`` from 1.

    Raises:
        ValueError: if there are no ranks, or one is below 1.
    """
    values = np.asarray(ranks)
    if not values.size or values.min() < 1:
        raise ValueError("ranks must be one or more numbers from 1")
    metrics = {f"R@{k}": 100 * float(np.mean(values <= k)) for k in RECALLS}
    metrics["median_rank"] = float(np.median(values))
    metrics["mean_rank"] = float(np.mean(values))
    return metrics


def rsum(image_to_text: Mapping[str, float], text_to_image: Mapping[str, float]) -> float:
    """The plain sum of the six recalls: at most 600."""
    return sum(direction[f"R@{k}"] for direction in (image_to_text, text_to_image) for k in RECALLS)


def mean_metrics(folds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over folds that all have the same names."""
    return {name: float(np.mean([fold[name] for fold in folds])) for name in folds[0]}


def bootstrap_interval(
    folds: Sequence[Ranks], *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of rsum, resampling images with their captions.

    Images, and not captions, are drawn: the captions of one image are no independent
    observations. Ranks stay those within the whole gallery. The interval says how much rsum would
    move with other test images; it says nothing about other seeds of training.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        folds: one gallery, or several whose rsum is averaged.
        samples: S.
        level: of confidence, between 0 and 1.
        seed: of the resampling.

    Returns:
        Lower and upper end, in points of rsum.
    """
    draws = _draws(folds, samples=samples, seed=seed).sum(axis=(1, 2))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_recalls(
    folds: Sequence[Ranks], *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, tuple[float, float]]]:
    """The intervals of the single recalls, from the resamples of :func:`bootstrap_interval`.

    Returns:
        ``image_to_text`` and ``text_to_image`` -> ``R@1`` and so on -> lower and upper end, in
        percent.
    """
    draws = _draws(folds, samples=samples, seed=seed)
    ends = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {
        direction: {
            f"R@{k}": (float(ends[0, row, column]), float(ends[1, row, column]))
            for column, k in enumerate(RECALLS)
        }
        for row, direction in enumerate(("image_to_text", "text_to_image"))
    }


def _draws(folds: Sequence[Ranks], *, samples: int, seed: int) -> Float64:
    """(S, 2, 3) recalls in percent of S resampled sets of images, the mean over the folds."""
    generator = np.random.default_rng(seed)
    result: Float64 = np.mean([_resampled(fold, samples, generator) for fold in folds], axis=0)
    return result


def _resampled(ranks: Ranks, samples: int, generator: np.random.Generator) -> Float64:
    """(S, 2, 3) recalls in percent: images as queries, then captions."""
    images = len(ranks.image_to_text)
    captions = np.bincount(ranks.caption_image, minlength=images)
    hits = _hits(ranks.image_to_text)
    caption_hits = np.zeros((images, len(RECALLS)))
    np.add.at(caption_hits, ranks.caption_image, _hits(ranks.text_to_image))
    result = np.empty((samples, 2, len(RECALLS)))
    for sample in range(samples):
        drawn = generator.integers(images, size=images)
        result[sample, 0] = hits[drawn].sum(0) / images
        result[sample, 1] = caption_hits[drawn].sum(0) / captions[drawn].sum()
    return 100 * result


def _hits(ranks: Int64) -> Float64:
    """(Q, 3) 1 where the rank is within 1, 5, 10, else 0."""
    return (ranks[:, None] <= np.array(RECALLS)).astype(np.float64)
