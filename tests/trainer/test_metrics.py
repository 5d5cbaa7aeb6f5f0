from __future__ import annotations

import numpy as np
import pytest

from trainer.metrics import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_recalls,
    mean_metrics,
    recall_metrics,
    rsum,
)
from trainer.ranking import Ranks


def ranks_of(image_to_text, text_to_image, caption_image):
    return Ranks(np.array(image_to_text), np.array(text_to_image), np.array(caption_image))


def test_recalls_are_percent_and_ranks_count_from_one():
    assert recall_metrics([1, 5, 6, 11]) == {
        "R@1": 25.0,
        "R@5": 50.0,
        "R@10": 75.0,
        "median_rank": 5.5,
        "mean_rank": 5.75,
    }


@pytest.mark.parametrize("ranks", [[], [0, 1]])
def test_no_ranks_or_ranks_from_zero_are_refused(ranks):
    with pytest.raises(ValueError, match="from 1"):
        recall_metrics(ranks)


def test_rsum_is_the_plain_sum_of_six_recalls():
    perfect = recall_metrics([1, 1, 1])
    assert rsum(perfect, perfect) == 600
    assert rsum(perfect, recall_metrics([7, 100, 100, 100])) == 325


def test_mean_over_folds_is_name_by_name():
    assert mean_metrics([{"R@1": 10.0, "x": 1.0}, {"R@1": 20.0, "x": 4.0}]) == {
        "R@1": 15.0,
        "x": 2.5,
    }


def random_ranks(images=200, seed=0):
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), generator.integers(1, 6, size=images))
    return ranks_of(
        generator.geometric(0.1, size=images), generator.geometric(0.1, size=len(owner)), owner
    )


def test_the_interval_is_that_of_a_naive_bootstrap():
    ranks = random_ranks(images=30)
    generator = np.random.default_rng(3)
    sums = []
    for _ in range(200):
        drawn = generator.integers(30, size=30)
        text_ranks = np.concatenate([ranks.text_to_image[ranks.caption_image == i] for i in drawn])
        sums.append(rsum(recall_metrics(ranks.image_to_text[drawn]), recall_metrics(text_ranks)))
    expected = np.quantile(sums, [0.05, 0.95])
    assert bootstrap_interval([ranks], samples=200, level=0.9, seed=3) == pytest.approx(expected)


def test_the_interval_holds_the_figure_and_narrows_with_images():
    widths = []
    for images in (50, 800):
        ranks = random_ranks(images)
        figure = rsum(recall_metrics(ranks.image_to_text), recall_metrics(ranks.text_to_image))
        low, high = bootstrap_interval([ranks])
        assert low < figure < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_the_interval_depends_on_the_seed_alone():
    ranks = random_ranks()
    assert bootstrap_interval([ranks], seed=1) == bootstrap_interval([ranks], seed=1)
    assert bootstrap_interval([ranks], seed=1) != bootstrap_interval([ranks], seed=2)


def test_the_mean_of_five_folds_is_surer_than_one_fold():
    folds = [random_ranks(seed=seed) for seed in range(5)]
    one, five = bootstrap_interval(folds[:1]), bootstrap_interval(folds)
    assert five[1] - five[0] < one[1] - one[0]


def test_a_perfect_model_has_no_width():
    assert bootstrap_interval([ranks_of([1, 1], [1, 1, 1], [0, 1, 1])]) == (600, 600)


def naive_difference(first, second, *, samples, seed):
    """Rank lists put together anew for each resample, run by run."""
    generator = np.random.default_rng(seed)

    def mean_rsum(runs, drawn):
        sums = []
        for run in runs:
            text_ranks = np.concatenate([run.text_to_image[run.caption_image == i] for i in drawn])
            sums.append(rsum(recall_metrics(run.image_to_text[drawn]), recall_metrics(text_ranks)))
        return np.mean(sums)

    images = len(first[0].image_to_text)
    differences = []
    for _ in range(samples):
        drawn = generator.integers(images, size=images)
        differences.append(mean_rsum(first, drawn) - mean_rsum(second, drawn))
    everything = np.arange(images)
    return mean_rsum(first, everything) - mean_rsum(second, everything), np.array(differences)


def other_ranks(ranks, seed):
    """Another model's ranks in the same gallery."""
    generator = np.random.default_rng(seed)
    return ranks_of(
        generator.geometric(0.15, size=len(ranks.image_to_text)),
        generator.geometric(0.15, size=len(ranks.text_to_image)),
        ranks.caption_image,
    )


def test_the_difference_is_that_of_a_naive_paired_bootstrap():
    gallery = random_ranks(images=30)
    first = [other_ranks(gallery, seed) for seed in (1, 2, 3)]
    second = [gallery, other_ranks(gallery, 4), other_ranks(gallery, 5)]
    points, draws = naive_difference(first, second, samples=200, seed=3)
    found = bootstrap_difference(
        [[run] for run in first], [[run] for run in second], samples=200, level=0.9, seed=3
    )
    assert found.points == pytest.approx(points)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))
    assert found.better == np.mean(draws > 0)
    assert 0 < found.better < 1


def test_a_difference_of_folds_is_the_mean_of_their_differences():
    galleries = [random_ranks(images=25, seed=seed) for seed in (0, 1)]
    others = [other_ranks(gallery, 7) for gallery in galleries]
    points = [
        bootstrap_difference([[other]], [[gallery]], samples=1).points
        for gallery, other in zip(galleries, others, strict=True)
    ]
    found = bootstrap_difference([others], [galleries], samples=100)
    assert found.points == pytest.approx(np.mean(points))
    assert found.low < found.points < found.high


def test_pairing_cancels_what_is_hard_for_both():
    gallery = random_ranks(images=400)
    # The same but for every twentieth image, which is found a little later.
    worse = np.where(np.arange(400) % 20 == 0, 11, gallery.image_to_text)
    slightly = ranks_of(worse, gallery.text_to_image, gallery.caption_image)
    found = bootstrap_difference([[gallery]], [[slightly]])
    alone = bootstrap_interval([gallery])
    assert found.points > 0
    assert found.better > 0.99
    assert found.high - found.low < (alone[1] - alone[0]) / 3
    assert bootstrap_difference([[gallery]], [[gallery]]).better == 0


def test_runs_of_other_galleries_are_not_compared():
    first, second = random_ranks(images=20), random_ranks(images=20, seed=1)
    with pytest.raises(ValueError, match="same images"):
        bootstrap_difference([[first]], [[second]])
    with pytest.raises(ValueError, match="run by run"):
        bootstrap_difference([[first], [first]], [[first]])
    with pytest.raises(ValueError, match="run by run"):
        bootstrap_difference([], [])


def test_intervals_of_recalls_are_those_of_resampled_images():
    generator = np.random.default_rng(1)
    owner = np.array([0, 0, 0, 1, 2, 2, 3, 4, 5, 5])
    ranks = ranks_of(generator.integers(1, 12, 6), generator.integers(1, 12, 10), owner)
    naive = {"image_to_text": [], "text_to_image": []}
    draws = np.random.default_rng(0)
    for _ in range(200):
        drawn = draws.integers(6, size=6)
        captions = np.concatenate([np.flatnonzero(owner == image) for image in drawn])
        naive["image_to_text"].append(recall_metrics(ranks.image_to_text[drawn])["R@5"])
        naive["text_to_image"].append(recall_metrics(ranks.text_to_image[captions])["R@5"])
    found = bootstrap_recalls([ranks], samples=200)
    for direction, values in naive.items():
        expected = tuple(np.quantile(values, [0.025, 0.975]))
        assert found[direction]["R@5"] == pytest.approx(expected)
