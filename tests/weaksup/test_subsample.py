from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weaksup.errors import DataError, UsageError
from weaksup.store import open_store
from weaksup.subsample import (
    GREED,
    STRATEGIES,
    ImageConcepts,
    measure_coverage,
    subsample,
    suggest,
)
from weaksup.types import Annotations, CaptionedImage, Corpus


def make_corpus(counts, splits=("train",), prefix=""):
    images = tuple(
        CaptionedImage(
            f"{prefix}{i}.jpg", tuple(f"{i} {j}" for j in range(n)), splits[i % len(splits)]
        )
        for i, n in enumerate(counts)
    )
    return Corpus(images=images, source="captions.json", format="table", fingerprint="f")


def make_concepts(rows, size, ids=None):
    parts = [np.array(sorted(row), np.int32) for row in rows]
    return ImageConcepts(
        names=tuple(f"c{i}" for i in range(size)),
        ids=tuple(ids or (f"{i}.jpg" for i in range(len(parts)))),
        starts=np.cumsum([0, *map(len, parts)], dtype=np.int64),
        rows=np.concatenate([np.zeros(0, np.int32), *parts]),
    )


def features_of(ids):
    """How images look: a function of their names alone."""
    return np.stack(
        [np.random.default_rng(list(name.encode())).normal(size=6) for name in ids]
    ).astype(np.float32)


def kept_captions(annotations):
    return {(name, i) for name, rows in annotations.captions_kept.items() for i in rows}


corpora = st.builds(
    make_corpus,
    st.lists(st.integers(1, 6), min_size=1, max_size=40),
    st.sampled_from([("train",), ("train", "val", "test"), ("train", None, "val")]),
)
ratios = st.floats(0, 1, exclude_min=True)


@given(
    corpus=corpora,
    data=st.data(),
    a=ratios,
    b=ratios,
    seed=st.integers(),
    unit=st.sampled_from(["image", "caption"]),
    strategy=st.sampled_from(["random", "coverage", "diverse"]),
)
@settings(deadline=None, max_examples=150)
def test_every_annotation_set(corpus, data, a, b, seed, unit, strategy):
    """What must hold for any corpus, store, ratio, unit, strategy and seed."""
    extra = tuple(f"extra{i}.jpg" for i in range(data.draw(st.integers(0, 5))))
    store_ids = (*(image.id for image in corpus.images), *extra)
    rows = data.draw(
        st.lists(st.sets(st.integers(0, 7)), min_size=len(store_ids), max_size=len(store_ids))
    )
    concepts = make_concepts(rows, 8, store_ids)

    def choose(ratio):
        return subsample(
            corpus,
            ratio=ratio,
            unit=unit,
            strategy=strategy,
            seed=seed,
            store_ids=store_ids,
            concepts=concepts,
            features=features_of,
        )

    small, large = choose(min(a, b)), choose(max(a, b))
    # A smaller ratio's set lies inside a larger one's.
    assert set(small.annotated) <= set(large.annotated)
    assert kept_captions(small) <= kept_captions(large)
    train = {image.id: image for image in corpus.split("train")}
    for result in (small, large):
        # Nothing of val, test or of images without split, and all of the rest.
        assert set(result.annotated) | set(result.unannotated) == {*train, *extra}
        assert not set(result.annotated) & set(result.unannotated)
        assert result.captions_kept.keys() == set(result.annotated) <= train.keys()
        # Indices are those of captions.
        for name, indices in result.captions_kept.items():
            assert indices
            assert set(indices) <= set(range(len(train[name].captions)))
            if unit == "image":
                assert indices == tuple(range(len(train[name].captions)))
        # The budget is kept to.
        total = sum(len(image.captions) for image in train.values())
        used, of = (
            (len(result.annotated), len(train))
            if unit == "image"
            else (len(kept_captions(result)), total)
        )
        assert used == max(1, min(of, int(result.ratio * of + 0.5)))
    assert kept_captions(choose(1.0)) == {
        (name, i) for name, image in train.items() for i in range(len(image.captions))
    }
    assert choose(max(a, b)) == large


def test_what_is_recorded():
    result = subsample(make_corpus([2, 2]), ratio=0.5, unit="caption", seed=3)
    assert (result.ratio, result.unit, result.strategy, result.seed) == (
        0.5,
        "caption",
        "random",
        3,
    )
    assert (result.captions, result.fingerprint) == ("captions.json", "f")


def test_random_is_fair_and_seeds_differ():
    corpus = make_corpus([3] * 20)
    images, captions = Counter(), Counter()
    for seed in range(400):
        images.update(subsample(corpus, ratio=0.2, seed=seed).annotated)
        captions.update(kept_captions(subsample(corpus, ratio=0.2, unit="caption", seed=seed)))
    # 80 expected each, and 4.5 standard deviations either way.
    assert len(images) == 20
    assert all(44 < count < 116 for count in images.values())
    assert len(captions) == 60
    assert all(44 < count < 116 for count in captions.values())


def test_the_order_of_the_file_plays_no_part():
    corpus = make_corpus([2] * 30)
    backwards = Corpus(corpus.images[::-1], corpus.source, corpus.format, corpus.fingerprint)
    for unit in ("image", "caption"):
        for strategy in ("random", "diverse"):
            first, second = (
                subsample(each, ratio=0.3, unit=unit, strategy=strategy, features=features_of)
                for each in (corpus, backwards)
            )
            assert kept_captions(first) == kept_captions(second)


def naive_gains(rows, kept, size):
    """Of each image, what it adds to sum over c of sqrt(n_c) log(1 + k_c)."""
    weights = np.sqrt([sum(c in row for row in rows) for c in range(size)])

    def value(images):
        counts = np.array([sum(c in rows[i] for i in images) for c in range(size)])
        return float((weights * np.log1p(counts)).sum())

    return [value([*kept, i]) - value(kept) for i in range(len(rows))]


@given(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=12), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_coverage_takes_nearly_the_best_image_each_time(rows, seed):
    corpus = make_corpus([1] * len(rows))
    concepts = make_concepts(rows, 6)
    kept: list[int] = []
    for size in range(1, len(rows) + 1):
        result = subsample(
            corpus, ratio=size / len(rows), strategy="coverage", seed=seed, concepts=concepts
        )
        (new,) = {int(name.removesuffix(".jpg")) for name in result.annotated} - set(kept)
        gains = naive_gains(rows, kept, 6)
        assert gains[new] >= GREED * max(g for i, g in enumerate(gains) if i not in kept) - 1e-6
        kept.append(new)


def test_coverage_goes_on_after_each_concept_is_covered():
    # 0 shows everything; then the images that show most, not those that show nothing.
    rows = [range(6), [], [0, 1, 2], [], [3, 4], [5], []]
    corpus, concepts = make_corpus([1] * 7), make_concepts(rows, 6)
    result = subsample(corpus, ratio=4 / 7, strategy="coverage", concepts=concepts)
    assert set(result.annotated) == {"0.jpg", "2.jpg", "4.jpg", "5.jpg"}


@pytest.mark.parametrize("strategy", ["coverage", "diverse"])
def test_by_caption_every_image_comes_once_before_any_twice(strategy):
    corpus, concepts = make_corpus([3, 1, 2]), make_concepts([[0, 1], [0], [1]], 2)
    for ratio, counts in ((0.5, {1: 3}), (5 / 6, {2: 2, 1: 1}), (1.0, {3: 1, 1: 1, 2: 1})):
        result = subsample(
            corpus,
            ratio=ratio,
            unit="caption",
            strategy=strategy,
            concepts=concepts,
            features=features_of,
        )
        assert Counter(map(len, result.captions_kept.values())) == counts


def test_diverse_takes_one_of_each_group_of_look_alikes():
    # Images of five kinds, the common ones very common: chance takes none of some kinds.
    kinds = [0] * 60 + [1] * 25 + [2] * 9 + [3] * 4 + [4] * 2
    corpus = make_corpus([1] * 100)
    noise = np.random.default_rng(0).normal(scale=0.05, size=(100, 5))
    looks = {f"{i}.jpg": np.eye(5)[kind] + noise[i] for i, kind in enumerate(kinds)}

    def features(ids):
        return np.stack([looks[name] for name in ids]).astype(np.float32)

    def shown(strategy, seed):
        kept = subsample(corpus, ratio=0.06, strategy=strategy, seed=seed, features=features)
        return {kinds[int(name.removesuffix(".jpg"))] for name in kept.annotated}

    assert all(len(shown("diverse", seed)) == 5 for seed in range(5))
    assert all(len(shown("random", seed)) < 5 for seed in range(5))


@pytest.fixture(scope="module")
def skewed():
    """2,000 images, 300 concepts as unevenly frequent as words are."""
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, 301)
    rows = [
        set(rng.choice(300, rng.integers(1, 9), p=chances / chances.sum()).tolist())
        for _ in range(2000)
    ]
    return make_corpus([1] * 2000), make_concepts(rows, 300)


def test_coverage_covers_more_than_random(skewed):
    corpus, concepts = skewed
    for ratio in (0.02, 0.05, 0.2):
        greedy = measure_coverage(
            subsample(corpus, ratio=ratio, strategy="coverage", concepts=concepts), concepts
        )
        for seed in range(5):
            by_chance = measure_coverage(subsample(corpus, ratio=ratio, seed=seed), concepts)
            assert greedy.covered > by_chance.covered
            share, chance = (c.occurrences_covered / c.occurrences for c in (greedy, by_chance))
            assert share > chance


@pytest.mark.parametrize("strategy", ["random", "coverage", "diverse"])
def test_regions_of_val_and_test_play_no_part(skewed, strategy):
    _, concepts = skewed
    corpus = make_corpus([1] * 2000, ("train", "train", "val", "test", None))
    rng = np.random.default_rng(1)
    rows = [
        concepts.rows[concepts.starts[i] : concepts.starts[i + 1]]
        if image.split == "train"
        else rng.choice(300, 40, replace=False)
        for i, image in enumerate(corpus.images)
    ]
    others = make_concepts(rows, 300)
    train = {image.id for image in corpus.split("train")}

    def features(ids):
        assert set(ids) <= train
        return features_of(ids)

    first, second = (
        subsample(
            corpus,
            ratio=0.1,
            strategy=strategy,
            concepts=c,
            features=features,
            store_ids=concepts.ids,
        )
        for c in (concepts, others)
    )
    assert first == second
    assert measure_coverage(first, concepts) == measure_coverage(second, others)


def test_uncaptioned_images_count_as_the_rest_to_cover():
    # Of two captioned images, the one whose concept the uncaptioned images show.
    corpus = make_corpus([1, 1])
    ids = ("0.jpg", "1.jpg", "x.jpg", "y.jpg")
    for concept, expected in ((0, "0.jpg"), (1, "1.jpg")):
        concepts = make_concepts([[0], [1], [concept], [concept]], 2, ids)
        result = subsample(corpus, ratio=0.5, strategy="coverage", store_ids=ids, concepts=concepts)
        assert result.annotated == (expected,)


def test_measure_coverage():
    concepts = make_concepts([[0, 1], [1, 2], [2, 3], [3], [4]], 6)
    corpus = make_corpus([1] * 4)
    result = subsample(corpus, ratio=1.0, store_ids=concepts.ids, concepts=concepts)
    coverage = measure_coverage(result, concepts)
    assert (coverage.concepts, coverage.covered) == (5, 4)
    assert (coverage.occurrences, coverage.occurrences_covered) == (1, 0)
    assert coverage.missing == (("c4", 1),)


def test_concepts_of_a_store(make_store, tmp_path):
    path = make_store(
        tmp_path / "regions.h5",
        {
            "b.jpg": [("dog", ["brown"], 0.9), ("dog", ["brown", "big"], 0.5), ("cat", [], 0.1)],
            "a.jpg": None,
            "c.jpg": [],
            "d.jpg": [("cat", ["big"], 0.3)],
        },
    )
    store = open_store(path)
    everything = ImageConcepts.of_store(store)
    assert everything.names == ("cat", "dog", "big", "brown")
    assert everything.frequency().tolist() == [2, 1, 2, 1]
    sure = ImageConcepts.of_store(store, min_score=0.2)
    shown = {name: sure.of([name]).rows.tolist() for name in store.ids}
    assert shown == {"b.jpg": [1, 2, 3], "a.jpg": [], "c.jpg": [], "d.jpg": [0, 2]}
    assert sure.of(["d.jpg", "unknown", "b.jpg"]).starts.tolist() == [0, 2, 2, 5]


@pytest.mark.parametrize("ratio", [0, -0.1, 1.0001, float("nan"), float("inf")])
def test_ratio_out_of_range(ratio):
    with pytest.raises(UsageError, match="is not over 0 and up to 1"):
        subsample(make_corpus([1]), ratio=ratio)


def test_what_is_wrong():
    corpus = make_corpus([1])
    with pytest.raises(UsageError, match="unknown strategy 'coverge': did you mean 'coverage'"):
        subsample(corpus, ratio=0.5, strategy="coverge")
    with pytest.raises(UsageError, match="unknown unit 'word'"):
        subsample(corpus, ratio=0.5, unit="word")
    with pytest.raises(DataError, match=r"no image of captions.json is in the train split"):
        subsample(make_corpus([1], ("val",)), ratio=0.5)
    with pytest.raises(DataError, match="needs the concepts"):
        subsample(corpus, ratio=0.5, strategy="coverage")
    with pytest.raises(DataError, match="needs the region features"):
        subsample(corpus, ratio=0.5, strategy="diverse")
    assert STRATEGIES.names() == ["coverage", "diverse", "random"]


@pytest.mark.slow
def test_coverage_of_100_000_images_takes_seconds():
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, 501)
    drawn = rng.choice(500, (100_000, 20), p=chances / chances.sum())
    concepts = make_concepts([set(row) for row in drawn.tolist()], 500)
    corpus = make_corpus([1] * 100_000)
    start = time.perf_counter()
    subsample(corpus, ratio=0.2, strategy="coverage", concepts=concepts)
    assert time.perf_counter() - start < 60


def annotated(ids, annotated):
    known = [f"{number}.jpg" for number in annotated]
    return Annotations(
        ratio=0.5,
        unit="image",
        strategy="random",
        seed=0,
        captions="captions.json",
        fingerprint="f",
        annotated=tuple(known),
        unannotated=tuple(name for name in ids if name not in known),
        captions_kept=dict.fromkeys(known, (0,)),
    )


@given(
    rows=st.lists(st.sets(st.integers(0, 5), max_size=4), min_size=1, max_size=15),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_suggestions_go_on_with_coverage_from_what_is_annotated(rows, data):
    kept = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    concepts = make_concepts(rows, 6)
    found = suggest(annotated(concepts.ids, sorted(kept)), concepts, count=99)
    weights = [sum(concept in row for row in rows) ** 0.5 for concept in range(6)]
    taken = list(kept)
    for suggestion in found:
        covered = [sum(concept in rows[place] for place in taken) for concept in range(6)]
        gains = {
            place: sum(weights[c] * np.log((covered[c] + 2) / (covered[c] + 1)) for c in row)
            for place, row in enumerate(rows)
            if place not in taken
        }
        place = int(suggestion.image.removesuffix(".jpg"))
        assert suggestion.gain == pytest.approx(gains[place])
        assert gains[place] >= GREED * max(gains.values()) - 1e-6
        assert dict(suggestion.concepts) == {f"c{c}": covered[c] for c in rows[place]}
        assert [count for _, count in suggestion.concepts] == sorted(
            count for _, count in suggestion.concepts
        )
        taken.append(place)
    # What is left shows nothing.
    assert all(not row for place, row in enumerate(rows) if place not in taken)


def test_so_many_suggestions_and_no_more():
    concepts = make_concepts([{0}, {1}, {0, 1}, {1}], 2)
    found = suggest(annotated(concepts.ids, [0]), concepts, count=1)
    assert [suggestion.image for suggestion in found] == ["2.jpg"]
    assert suggest(annotated(concepts.ids, [0]), concepts, count=0) == ()
