from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.fusion import IMAGES, fuse
from trainer.search import Gallery, best


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.mark.parametrize("top", [1, 3, 40, 100])
def test_the_nearest_are_those_of_a_full_sort(generator, monkeypatch, top):
    monkeypatch.setattr("trainer.search.CHUNK", 7)
    rows = unit(generator.normal(size=(40, 5)))
    rows[11] = rows[3]  # equal ones come in the order of their places
    query = rows[3]
    places, scores = Gallery(rows, 0).nearest(query, top=top)
    expected = np.argsort(-(rows @ query).round(6), kind="stable")[:top]
    assert places.tolist() == expected.tolist()
    np.testing.assert_allclose(scores, (rows @ query)[expected], atol=1e-6)


def test_ties_at_the_end_of_the_list_go_by_place():
    places, scores = best(np.array([1, 5, 5, 5, 9], np.float32), 3)
    assert places.tolist() == [4, 1, 2]
    assert scores.tolist() == [9, 5, 5]
    assert best(np.zeros(0, np.float32), 3)[0].tolist() == []


def test_among_some_rows_the_nearest_are_theirs(generator):
    rows = unit(generator.normal(size=(40, 5)))
    some = np.array([31, 2, 17, 8])
    places, scores = Gallery(rows, 0).nearest_of(rows[0], some, top=3)
    assert places.tolist() == sorted(some.tolist(), key=lambda n: -(rows @ rows[0])[n])[:3]
    np.testing.assert_allclose(scores, (rows @ rows[0])[places], rtol=1e-5)


def test_images_of_which_little_is_known_are_not_alike_for_that():
    # Three images, two towers. The first tower says that 0 and 2 are alike. The second knows
    # nothing of 0 and 1, whose slack is therefore large, and much of 2.
    first = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.98, 0.0396**0.5]])
    second = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    rows = fuse([first, second], [0.4, 0.6], side=IMAGES).numpy()
    by_product = rows @ rows[0]
    assert by_product[1] > by_product[2]  # what the slack columns would make of it
    places, scores = Gallery(rows, 2).nearest(rows[0], top=3, same_side=True)
    assert places.tolist() == [0, 2, 1]
    bare = unit(rows[:, :-2])
    np.testing.assert_allclose(scores, (bare @ bare[0])[places], rtol=1e-5)


def test_an_image_is_most_like_itself(generator):
    parts = [torch.tensor(unit(generator.normal(size=(30, 4)))) for _ in range(2)]
    short = parts[1] * torch.tensor(generator.uniform(size=(30, 1)), dtype=torch.float32)
    rows = fuse([parts[0], short], [0.5, 0.5], side=IMAGES).numpy()
    gallery = Gallery(rows, 2)
    for place in range(len(rows)):
        places, scores = gallery.nearest(rows[place], top=1, same_side=True)
        assert places.tolist() == [place]
        np.testing.assert_allclose(scores, 1, rtol=1e-5)


def test_sentences_are_compared_with_images_by_their_product(generator):
    rows = unit(generator.normal(size=(9, 6)))
    places, scores = Gallery(rows, 2).nearest(rows[4], top=9)
    np.testing.assert_array_equal(scores, (rows @ rows[4])[places])


def test_an_embedding_that_is_all_slack_is_like_nothing():
    rows = np.array([[0, 0, 1, 0], [1, 0, 0, 0]], np.float32)
    _, scores = Gallery(rows, 2).nearest(rows[0], top=2, same_side=True)
    assert scores.tolist() == [0, 0]
