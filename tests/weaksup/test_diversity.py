from __future__ import annotations

import time
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weaksup import diversity
from weaksup.diversity import representative_first, standardise


def make_vectors(seed, count, size=5):
    """Rows of length 1, some of them equal and some zero."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(max(1, count // 2), size))[rng.integers(0, max(1, count // 2), count)]
    drawn += rng.normal(size=drawn.shape) * rng.choice([0, 0.3], (count, 1))
    drawn[rng.random(count) < 0.1] = 0
    lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
    return (drawn / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def value(references, taken):
    """The objective, written out."""
    return sum(max([0.0, *(float(r @ t) for t in taken)]) for r in references)


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 14),
    known=st.integers(0, 3),
    chunk=st.sampled_from([1, 3, 64]),
    references=st.sampled_from([4, 512]),
)
@settings(deadline=None, max_examples=80)
def test_each_place_adds_most(seed, count, known, chunk, references):
    vectors, taken = make_vectors(seed, count), make_vectors(seed + 1, known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "CELLS", 0)
        patch.setattr(diversity, "FEWEST", references)
        patch.setattr(diversity, "_CHUNK", chunk)
        order = list(representative_first(vectors, taken=taken if known else None))
    assert sorted(order) == list(range(count))
    have = list(taken)
    for turn, place in enumerate(order):
        before = value(vectors[:references], have)
        gains = {
            left: value(vectors[:references], [*have, vectors[left]]) - before
            for left in order[turn:]
        }
        assert gains[place] >= max(gains.values()) - 1e-4
        have.append(vectors[place])


def test_large_groups_come_first_and_outliers_last():
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:3]
    groups = np.repeat([0, 1, 2], [200, 100, 50])
    rows = centres[groups] + rng.normal(scale=0.02, size=(350, 8))
    outliers = np.eye(8)[3:5]
    rows = np.concatenate([outliers, rows])
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    first = list(islice(representative_first(vectors), 5))
    assert [groups[place - 2] for place in first[:3]] == [0, 1, 2]
    # Alone, each of them stands for one vector: itself.
    assert set(first[3:]) == {0, 1}
    # What is there already is not asked for again.
    assert groups[next(representative_first(vectors, taken=vectors[[10]])) - 2] == 1


def test_standardise():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(3000, 6)) * [1, 10, 100, 0, 1e-3, 0] + [0, 5, -3, 7, 1, 0]).astype(
        np.float32
    )
    found = standardise(values)
    scaled = np.zeros_like(values, dtype=np.float64)
    for column in (0, 1, 2, 4):
        own = values[:, column].astype(np.float64)
        scaled[:, column] = (own - own.mean()) / own.std()
    expected = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert found.dtype == np.float32
    assert not standardise(np.ones((4, 3), np.float32)).any()
    assert standardise(np.zeros((0, 3), np.float32)).shape == (0, 3)


@pytest.mark.slow
def test_a_fifth_of_30_000_takes_seconds():
    rng = np.random.default_rng(0)
    vectors = standardise(
        (
            rng.normal(size=(300, 64))[rng.integers(0, 300, 30_000)] + rng.normal(size=(30_000, 64))
        ).astype(np.float32)
    )
    start = time.perf_counter()
    found = list(islice(representative_first(vectors), 6000))
    assert len(set(found)) == 6000
    assert time.perf_counter() - start < 120
