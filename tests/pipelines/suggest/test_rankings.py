from __future__ import annotations

import numpy as np
import pytest

from pipelines.suggest import rankings
from pipelines.suggest.choose import DEFAULT, STRATEGIES
from pipelines.suggest.rankings import Ranking, by_diversity, by_uncertainty, fused, shuffled
from weaksup.cli import suggest as command


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_margins_are_between_images_and_not_between_captions_of_one(monkeypatch):
    monkeypatch.setattr(rankings, "_CHUNK", 3)
    rng = np.random.default_rng(0)
    images, captions = unit(rng.normal(size=(8, 4))), unit(rng.normal(size=(9, 4)))
    owner = np.array([0, 0, 1, 2, 2, 2, 3, 1, 0])
    found = rankings.uncertainty_margins(images, captions, owner)
    for image, margin in zip(images, found, strict=True):
        best = {
            each: max(float(image @ captions[place]) for place in np.flatnonzero(owner == each))
            for each in range(4)
        }
        first, second = sorted(best.values(), reverse=True)[:2]
        assert margin == pytest.approx(first - second, abs=1e-6)
    names = [f"{number}.jpg" for number in range(8)]
    ranking = by_uncertainty(names, images, captions, owner)
    assert list(ranking.reasons) == [names[place] for place in np.argsort(found, kind="stable")]
    alone = rankings.uncertainty_margins(images, captions, np.zeros(9, np.int64))
    assert np.isinf(alone).all()


def test_fused_by_hand():
    first = Ranking("first", dict.fromkeys("abc", ""))
    second = Ranking("second", dict.fromkeys("cda", ""))
    found = fused([first, second])
    sums = {"a": 1 / 61 + 1 / 63, "b": 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 62}
    # Equals stand as they came.
    assert list(found.reasons) == sorted(sums, key=lambda name: -sums[name]) == list("acbd")
    assert found.reasons["a"] == "rank first 1, second 3"
    assert found.reasons["d"] == "rank second 2"


def test_diversity_goes_on_from_what_is_annotated():
    kinds = np.eye(3, dtype=np.float32)
    vectors = kinds[[0, 0, 0, 0, 1, 1, 1, 2, 2]]
    names = [f"{number}.jpg" for number in range(9)]
    found = by_diversity(names, vectors, kinds[[0]], count=2)
    assert list(found.reasons) == ["4.jpg", "7.jpg"]
    assert "cosine 0.00" in found.reasons["4.jpg"]
    assert list(by_diversity(names, vectors, kinds[:0], count=1).reasons) == ["0.jpg"]


def test_the_order_depends_on_the_seed_alone():
    names = [f"{number}.jpg" for number in range(30)]
    assert shuffled(names, seed=1) == shuffled(names[::-1], seed=1) != shuffled(names, seed=2)
    without = [name for name in shuffled(names, seed=1) if name != "7.jpg"]
    assert shuffled([name for name in names if name != "7.jpg"], seed=1) == without


def test_the_command_offers_all_strategies():
    assert command.STRATEGIES == STRATEGIES
    (option,) = (each for each in command.command.params if each.name == "strategy")
    assert option.default == DEFAULT
