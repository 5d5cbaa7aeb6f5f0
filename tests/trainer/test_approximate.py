from __future__ import annotations

import builtins

import numpy as np
import pytest

from trainer.approximate import LEAST_TRAINED, Approximate, available, choose_kind
from weaksup.errors import DataError, MissingDependencyError, UsageError

needs_faiss = pytest.mark.skipif(not available(), reason="faiss is not installed")
COUNT, WIDTH = 3000, 24


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(60, WIDTH))
    rows = centres[generator.integers(60, size=COUNT)] + generator.normal(size=(COUNT, WIDTH)) / 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@needs_faiss
@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_the_nearest_are_among_the_candidates(rows, kind, tmp_path):
    index = Approximate.build(rows[:2500], kind=kind)
    index.add(rows[2500:])
    index.write(tmp_path / "x.faiss")
    again = Approximate.read(tmp_path / "x.faiss")
    assert len(index) == len(again) == COUNT
    found = 0
    for query in rows[::100]:
        right = np.argsort(-(rows @ query))[:10]
        places = again.candidates(query, 300)
        assert len(set(places.tolist())) == len(places) <= 300
        found += len(set(right.tolist()) & set(places.tolist()))
    # 300 of 3,000 at random would hold a tenth of them.
    assert found / (10 * len(rows[::100])) > 0.95


@needs_faiss
def test_fewer_images_than_channels():
    rows = np.random.default_rng(0).normal(size=(LEAST_TRAINED, 2 * LEAST_TRAINED))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    index = Approximate.build(rows, kind="ivfpq")
    assert all(place in index.candidates(rows[place], 20) for place in range(0, len(rows), 9))


@needs_faiss
def test_too_few_images_for_codes_and_a_damaged_file(rows, tmp_path):
    with pytest.raises(UsageError, match="learns from 256 images or more, here are 255"):
        Approximate.build(rows[: LEAST_TRAINED - 1], kind="ivfpq")
    (tmp_path / "x.faiss").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"x\.faiss is damaged"):
        Approximate.read(tmp_path / "x.faiss")
    with pytest.raises(DataError, match=r"y\.faiss is damaged"):
        Approximate.read(tmp_path / "y.faiss")


def test_the_kind_goes_by_the_number():
    kinds = [choose_kind(n) for n in (1, 50_000, 50_001, 200_000, 200_001)]
    assert kinds == ["exact", "exact", "hnsw", "hnsw", "ivfpq"]


def test_without_faiss_the_command_that_installs_it_is_named(rows, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **named):
        if name == "faiss":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert not available()
    with pytest.raises(MissingDependencyError) as error:
        Approximate.build(rows, kind="hnsw")
    assert "pip install" in error.value.hint
