"""Re-ranking against brute force: whole lists sorted twice, one query at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import reranking
from trainer.ranking import rank_embeddings
from trainer.reranking import rerank
from weaksup.errors import DataError


def final_rank(scores, second, right, top, weight):
    """The worst place of the best right candidate in a list whose top is sorted anew."""
    order = sorted(range(len(scores)), key=lambda m: -scores[m])
    last = scores[order[min(top, len(order)) - 1]]
    head = [m for m in order if scores[m] >= last]
    tail = [m for m in order if scores[m] < last]
    # At equal score wrong candidates come first: False sorts before True.
    head.sort(key=lambda m: (-(scores[m] + weight * second[m]), right[m]))
    tail.sort(key=lambda m: (-scores[m], right[m]))
    places = [place for place, m in enumerate(head + tail) if right[m]]
    wrong = [not right[m] for m in (head + tail)[: places[0]]]
    return 1 + sum(wrong)


def brute_force(scores, second, owner, top, weight):
    image_to_text = [
        final_rank(scores[i], second[i], owner == i, top, weight) for i in range(len(scores))
    ]
    text_to_image = [
        final_rank(scores[:, c], second[:, c], np.arange(len(scores)) == owner[c], top, weight)
        for c in range(len(owner))
    ]
    return image_to_text, text_to_image


@st.composite
def galleries(draw):
    """Few distinct values, so that ties are many; any number of captions an image."""
    images = draw(st.integers(1, 8))
    owner = draw(
        st.permutations([*range(images), *draw(st.lists(st.integers(0, images - 1), max_size=14))])
    )
    values = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    rows = draw(st.lists(values, min_size=images, max_size=images))
    texts = draw(st.lists(values, min_size=len(owner), max_size=len(owner)))
    seed = draw(st.integers(0, 9))
    second = np.random.default_rng(seed).integers(-2, 3, (images, len(owner)))
    return (*(np.array(x, dtype=np.float32) for x in (rows, texts)), np.array(owner), second)


# Integers, so that sums are exact and equal scores really are equal.
@settings(max_examples=300, deadline=None)
@given(galleries(), st.integers(1, 12), st.integers(0, 3), st.integers(1, 40))
def test_ranks_equal_brute_force_with_heavy_ties(gallery, top, weight, chunk):
    images, texts, owner, second = gallery
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reranking, "CHUNK", chunk)
        found = rerank(
            images,
            texts,
            owner,
            second=lambda i, c: second[i, c].astype(np.float32),
            top=top,
            weight=weight,
            # No two are copies: equal embeddings may differ in their second score.
            image_class=np.arange(len(images)),
            caption_class=np.arange(len(texts)),
        )
    expected = brute_force(images @ texts.T, second, owner, top, weight)
    assert (found.ranks.image_to_text.tolist(), found.ranks.text_to_image.tolist()) == expected


def gaussian(images=40, captions=160, width=24, seed=0):
    generator = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(images), generator.integers(images, size=captions - images)])
    rows = generator.standard_normal((images, width), dtype=np.float32)
    texts = rows[owner] + 3 * generator.standard_normal((captions, width), dtype=np.float32)
    second = generator.standard_normal((images, captions), dtype=np.float32)
    return rows, texts, owner, second


@pytest.mark.parametrize("top", [1, 7, 40, 1000])
def test_real_values(top):
    images, texts, owner, second = gaussian()
    found = rerank(images, texts, owner, second=lambda i, c: second[i, c], top=top, weight=4.0)
    expected = brute_force(
        images.astype(np.float64) @ texts.T.astype(np.float64), second, owner, top, 4.0
    )
    assert (found.ranks.image_to_text.tolist(), found.ranks.text_to_image.tolist()) == expected
    plain = rank_embeddings(images, texts, owner)
    assert (found.ranks.text_to_image == plain.text_to_image).all() == (top == 1)
    # Who is not in the list stays.
    outside = plain.text_to_image > top
    assert (found.ranks.text_to_image[outside] == plain.text_to_image[outside]).all()
    assert (found.ranks.text_to_image[~outside] <= top).all()


def test_a_weight_of_zero_changes_nothing():
    images, texts, owner, second = gaussian()
    found = rerank(images, texts, owner, second=lambda i, c: second[i, c], top=9, weight=0.0)
    plain = rank_embeddings(images, texts, owner)
    assert found.ranks.image_to_text.tolist() == plain.image_to_text.tolist()
    assert found.ranks.text_to_image.tolist() == plain.text_to_image.tolist()


def test_copies_tie_and_are_scored_once():
    images, texts, owner, second = gaussian(width=333)
    images[1::2], texts[80:] = images[::2], texts[:80]
    asked = []

    def score(i, c):
        asked.extend(zip(i.tolist(), c.tolist(), strict=True))
        assert (i % 2 == 0).all()
        assert (c < 80).all()
        return second[i, c]

    found = rerank(images, texts, owner, second=score, top=10, weight=2.0)
    assert len(asked) == len(set(asked)) == found.pairs
    one = images.astype(np.float64) @ texts.T.astype(np.float64)
    one[1::2], second[1::2] = one[::2], second[::2]
    one[:, 80:], second[:, 80:] = one[:, :80], second[:, :80]
    expected = brute_force(one, second, owner, 10, 2.0)
    assert (found.ranks.image_to_text.tolist(), found.ranks.text_to_image.tolist()) == expected
    assert found.ranks.text_to_image.min() == 2  # the other copy is never behind


def test_only_pairs_of_lists_are_asked_for():
    images, texts, owner, second = gaussian()
    found = rerank(images, texts, owner, second=lambda i, c: second[i, c], top=3, weight=1.0)
    assert 160 * 3 <= found.pairs <= (160 + 40) * 3
    assert found.seconds > 0


def test_a_score_that_is_not_a_number_is_refused():
    images, texts, owner, _ = gaussian()
    with pytest.raises(DataError, match="not a number"):
        rerank(
            images,
            texts,
            owner,
            second=lambda i, c: np.full(len(i), np.nan, np.float32),
            top=3,
            weight=1.0,
        )
