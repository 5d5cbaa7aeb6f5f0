"""Recall@K, median and mean rank, rsum, and how sure they are. Pure functions of ranks.

Letters: N images, C captions, Q queries, S bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Difference:
    """How far the rsum of one model is above that of another on the same test images.

    Attributes:
        points: of rsum; negative if the other one is better.
        low, high: ends of the interval.
        better: share of the resamples in which the model is above the other, in [0, 1].
    """

    points: float
    low: float
    high: float
    better: float


def bootstrap_difference(
    first: Sequence[Sequence[Ranks]],
    second: Sequence[Sequence[Ranks]],
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Paired percentile bootstrap of a difference in rsum, resampling images with their captions.

    Both models answer the very same resamples, so that what is hard for both cancels out. The
    rsum of a model is its mean over its runs: like ``bootstrap_interval``, the interval says what
    other test images would change, and nothing about other seeds.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.

    Args:
        first: folds of each run of one model, all runs on the same galleries.
        second: the same of the other model: as many runs, run by run of the same seed.
        samples: S.
        level: of confidence, between 0 and 1.
        seed: of the resampling.

    Raises:
        ValueError: if there is no run, or the runs are not of the same galleries.
    """
    if not first or len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} runs cannot be compared run by run")
    generator = np.random.default_rng(seed)
    points, draws = [], []
    for fold, _ in enumerate(first[0]):
        gains = [_found(run[fold]) - _found(other[fold]) for run, other in _pairs(first, second)]
        gain = np.mean(gains, axis=0)
        captions = _captions(first[0][fold])
        points.append(100 * (gain[0].sum() / len(captions) + gain[1].sum() / captions.sum()))
        draws.append(_resample(gain, captions, samples, generator).sum(axis=(1, 2)))
    means = np.mean(draws, axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(
        float(np.mean(points)), float(low), float(high), better=float(np.mean(means > 0))
    )


def _pairs(
    first: Sequence[Sequence[Ranks]], second: Sequence[Sequence[Ranks]]
) -> list[tuple[Sequence[Ranks], Sequence[Ranks]]]:
    """Runs of the same seed, once it is sure that all are of the same galleries."""
    galleries = [fold.caption_image for fold in first[0]]
    for run in (*first, *second):
        if len(run) != len(galleries) or not all(
            np.array_equal(fold.caption_image, gallery)
            for fold, gallery in zip(run, galleries, strict=True)
        ):
            raise ValueError("the runs were not ranked on the same images and captions")
    return list(zip(first, second, strict=True))


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
    result: Float64 = np.mean(
        [_resample(_found(fold), _captions(fold), samples, generator) for fold in folds], axis=0
    )
    return result


def _resample(
    found: Float64, captions: Int64, samples: int, generator: np.random.Generator
) -> Float64:
    """(S, 2, 3) recalls in percent of S resampled sets of images.

    Args:
        found: (2, N, 3) what ``_found`` gives, or a difference of two such.
        captions: (N,) of each image.
    """
    images = len(captions)
    result = np.empty((samples, 2, len(RECALLS)))
    for sample in range(samples):
        drawn = generator.integers(images, size=images)
        result[sample] = found[:, drawn].sum(axis=1)
        result[sample, 0] /= images
        result[sample, 1] /= captions[drawn].sum()
    return 100 * result


def _captions(ranks: Ranks) -> Int64:
    """(N,) how many captions each image has."""
    return np.bincount(ranks.caption_image, minlength=len(ranks.image_to_text))


def _found(ranks: Ranks) -> Float64:
    """(2, N, 3) how often each image counts in each recall: itself, and all its captions."""
    found = np.zeros((2, len(ranks.image_to_text), len(RECALLS)))
    found[0] = _hits(ranks.image_to_text)
    np.add.at(found[1], ranks.caption_image, _hits(ranks.text_to_image))
    return found


def _hits(ranks: Int64) -> Float64:
    """(Q, 3) 1 where the rank is within 1, 5, 10, else 0."""
    return (ranks[:, None] <= np.array(RECALLS)).astype(np.float64)
