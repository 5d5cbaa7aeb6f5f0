"""Ranks against brute force: sorting with the right answer put after everything it ties with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.ranking import rank_embeddings, rank_scores
from weaksup.errors import DataError


def brute_force(scores, caption_image):
    """Both directions by sorting whole rows and columns, one query at a time."""
    image_to_text = []
    for image, row in enumerate(scores):
        # At equal score wrong captions come first: False sorts before True.
        order = sorted(range(len(row)), key=lambda c: (-row[c], caption_image[c] == image))
        place = next(p for p, c in enumerate(order) if caption_image[c] == image)
        image_to_text.append(1 + place)
    text_to_image = []
    for caption, column in enumerate(scores.T):
        right = caption_image[caption]
        order = sorted(range(len(column)), key=lambda n: (-column[n], n == right))
        text_to_image.append(1 + order.index(right))
    return image_to_text, text_to_image


@st.composite
def galleries(draw, values):
    """Embeddings with few distinct values, any number of captions an image, in any order."""
    images = draw(st.integers(1, 9))
    extra = draw(st.lists(st.integers(0, images - 1), max_size=20))
    owner = draw(st.permutations([*range(images), *extra]))
    width = draw(st.integers(1, 3))
    row = st.lists(values, min_size=width, max_size=width)
    return (
        np.array(draw(st.lists(row, min_size=images, max_size=images)), dtype=np.float32),
        np.array(draw(st.lists(row, min_size=len(owner), max_size=len(owner))), dtype=np.float32),
        np.array(owner),
    )


# Products and sums of small integers are exact in float32, so that equal scores really are equal.
@settings(max_examples=150, deadline=None)
@given(galleries(st.integers(-2, 2)), st.integers(1, 5), st.integers(1, 7))
def test_ranks_equal_brute_force_with_heavy_ties(gallery, image_chunk, caption_chunk):
    images, texts, owner = gallery
    ranks = rank_embeddings(
        images, texts, owner, image_chunk=image_chunk, caption_chunk=caption_chunk
    )
    expected = brute_force(images @ texts.T, owner)
    assert (ranks.image_to_text.tolist(), ranks.text_to_image.tolist()) == expected


@settings(max_examples=100, deadline=None)
@given(galleries(st.integers(-1, 1)), st.integers(1, 5), st.integers(1, 7))
def test_a_score_function_gives_the_same_ranks(gallery, image_chunk, caption_chunk):
    images, texts, owner = gallery
    scores = images @ texts.T
    ranks = rank_scores(
        lambda rows, columns: scores[np.ix_(rows, columns)],
        owner,
        images=len(images),
        image_chunk=image_chunk,
        caption_chunk=caption_chunk,
    )
    assert (ranks.image_to_text.tolist(), ranks.text_to_image.tolist()) == brute_force(
        scores, owner
    )


@settings(max_examples=60, deadline=None)
@given(galleries(st.integers(-1, 1)), st.integers(1, 5), st.integers(1, 7), st.data())
def test_copies_tie_whatever_their_scores(gallery, image_chunk, caption_chunk, data):
    images, texts, owner = gallery
    scores = (images @ texts.T).astype(np.float64)
    image_class = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(images), max_size=len(images)))
    )
    caption_class = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(owner), max_size=len(owner)))
    )
    ranks = rank_scores(
        lambda rows, columns: scores[np.ix_(rows, columns)],
        owner,
        images=len(images),
        image_class=image_class,
        caption_class=caption_class,
        image_chunk=image_chunk,
        caption_chunk=caption_chunk,
    )
    for caption, right in enumerate(owner):
        wrong = [n for n in range(len(images)) if n != right]
        ahead = [
            scores[n, caption] >= scores[right, caption] or image_class[n] == image_class[right]
            for n in wrong
        ]
        assert ranks.text_to_image[caption] == 1 + sum(ahead)
    for image in range(len(images)):
        # Of the best among an image's own captions the first counts, in the order of captions.
        own = [c for c in range(len(owner)) if owner[c] == image]
        best = max(own, key=lambda c: scores[image, c])
        ahead = [
            scores[image, c] >= scores[image, best] or caption_class[c] == caption_class[best]
            for c in range(len(owner))
            if owner[c] != image
        ]
        assert ranks.image_to_text[image] == 1 + sum(ahead)


def gaussian_gallery(images=60, captions=300, width=48, seed=0):
    generator = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(images), generator.integers(images, size=captions - images)])
    image_rows = generator.standard_normal((images, width), dtype=np.float32)
    text_rows = image_rows[owner] + 3 * generator.standard_normal(
        (captions, width), dtype=np.float32
    )
    return image_rows, text_rows, owner


def test_ranks_of_real_valued_embeddings_equal_brute_force():
    images, texts, owner = gaussian_gallery()
    ranks = rank_embeddings(images, texts, owner, image_chunk=7, caption_chunk=11)
    scores = images.astype(np.float64) @ texts.astype(np.float64).T
    assert (ranks.image_to_text.tolist(), ranks.text_to_image.tolist()) == brute_force(
        scores, owner
    )
    assert len(set(ranks.text_to_image)) > 10


@pytest.mark.parametrize(("image_chunk", "caption_chunk"), [(1, 1), (3, 50), (17, 5), (1000, 1000)])
def test_equal_embeddings_tie_whatever_the_tiles(image_chunk, caption_chunk):
    # Real values: without care the last bit of a product decides between copies.
    images, texts, owner = gaussian_gallery(images=40, captions=160, width=333)
    images[1::2] = images[::2]
    texts[80:] = texts[:80]
    ranks = rank_embeddings(
        images, texts, owner, image_chunk=image_chunk, caption_chunk=caption_chunk
    )
    one = images.astype(np.float64) @ texts.astype(np.float64).T
    # Copies must be equal in the reference as well: take each score from the first copy.
    one[1::2] = one[::2]
    one[:, 80:] = one[:, :80]
    assert (ranks.image_to_text.tolist(), ranks.text_to_image.tolist()) == brute_force(one, owner)


def test_a_collapsed_model_is_last_everywhere():
    vector = np.random.default_rng(0).standard_normal(333).astype(np.float32)
    owner = np.repeat(np.arange(20), 5)
    ranks = rank_embeddings(np.tile(vector, (20, 1)), np.tile(vector, (100, 1)), owner)
    assert (ranks.text_to_image == 20).all()
    assert (ranks.image_to_text == 96).all()  # after the 95 captions of other images


def test_positive_and_negative_zero_are_the_same_embedding():
    images = np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    ranks = rank_embeddings(images, images, [0, 1])
    assert ranks.text_to_image.tolist() == [2, 2]


def test_half_precision_is_ranked_in_float32():
    images, texts, owner = gaussian_gallery()
    half = images.astype(np.float16), texts.astype(np.float16)
    whole = [rows.astype(np.float32) for rows in half]
    assert np.array_equal(
        rank_embeddings(*half, owner).text_to_image, rank_embeddings(*whole, owner).text_to_image
    )


def test_tiles_are_asked_for_once_and_never_the_whole_matrix():
    images, texts, owner = gaussian_gallery(images=50, captions=200)
    scores = images @ texts.T
    asked = np.zeros_like(scores, dtype=int)

    def score(rows, columns):
        assert len(rows) <= 8
        assert len(columns) <= 16
        asked[np.ix_(rows, columns)] += 1
        return scores[np.ix_(rows, columns)]

    rank_scores(score, owner, images=50, image_chunk=8, caption_chunk=16)
    assert asked.min() == 1
    assert asked.mean() < 1.2
    assert asked.max() == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_embeddings_that_are_not_finite_are_refused(bad):
    images, texts, owner = gaussian_gallery()
    texts[17, 3] = bad
    with pytest.raises(DataError, match=r"1 of 300 caption embeddings.*caption 17") as caught:
        rank_embeddings(images, texts, owner)
    assert "the region store is damaged" in caught.value.hint


def test_a_score_that_is_not_a_number_is_refused():
    scores = np.zeros((3, 3), dtype=np.float32)
    scores[2, 0] = np.nan
    with pytest.raises(DataError, match="not a number"):
        rank_scores(lambda rows, columns: scores[np.ix_(rows, columns)], [0, 1, 2], images=3)


@pytest.mark.parametrize(
    ("owner", "message"),
    [([0, 0, 1], "1 images have no caption, image 2"), ([0, 1, 3], r"0\.\.2"), ([], "fit")],
)
def test_wrong_positives_are_refused(owner, message):
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        rank_embeddings(rows, rows, owner)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        rank_embeddings(np.ones((2, 3)), np.ones((2, 4)), [0, 1])
    with pytest.raises(ValueError, match="two dimensions"):
        rank_embeddings(np.ones(3), np.ones((1, 3)), [0])
    with pytest.raises(ValueError, match=r"score gave \(1,\)"):
        rank_scores(lambda rows, columns: np.ones(1), [0, 1], images=2)
