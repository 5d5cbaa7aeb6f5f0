"""Cross attention against its definition (SCAN, section 3), one pair and one fragment at a time."""

from __future__ import annotations

import math

import pytest
import torch

from trainer import similarity
from trainer.config import AGGREGATIONS, DIRECTIONS
from trainer.fragments import Fragments
from trainer.similarity import CrossAttention

WIDTH = 5


def unit(values):
    length = math.sqrt(sum(value**2 for value in values))
    return [value / length for value in values]


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def naive(attention, image, text):
    """The score of one image and one text: lists of fragments, without padding."""
    words_ask = attention.direction == "t2i"
    queries, contexts = (text, image) if words_ask else (image, text)
    cosine = [[dot(q, c) for c in contexts] for q in queries]
    leaky = [[max(0, s) + 0.1 * min(0, s) for s in row] for row in cosine]
    lengths = [math.sqrt(sum(row[k] ** 2 for row in leaky)) for k in range(len(contexts))]
    relevance = []
    for query, row in zip(queries, leaky, strict=True):
        exponents = [
            math.exp(attention.lambda_softmax * s / length)
            for s, length in zip(row, lengths, strict=True)
        ]
        attended = [
            sum(e / sum(exponents) * c[i] for e, c in zip(exponents, contexts, strict=True))
            for i in range(WIDTH)
        ]
        relevance.append(dot(query, unit(attended)))
    if attention.aggregation == "avg":
        return sum(relevance) / len(relevance)
    total = sum(math.exp(attention.lambda_lse * r) for r in relevance)
    return math.log(total) / attention.lambda_lse


def fragments(*counts, seed, padding=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(counts) + padding) < torch.tensor(counts).unsqueeze(1)
    values = torch.randn(*mask.shape, WIDTH, generator=generator)
    values = torch.nn.functional.normalize(values, dim=-1) * mask.unsqueeze(-1)
    return Fragments(values, mask)


def rows(side):
    return [values[mask].tolist() for values, mask in zip(side.values, side.mask, strict=True)]


def make(direction="t2i", aggregation="avg"):
    return CrossAttention(
        direction=direction, aggregation=aggregation, lambda_softmax=4.0, lambda_lse=6.0
    )


IMAGES, TEXTS = fragments(3, 1, 4, seed=0), fragments(2, 5, 1, 3, seed=1)


@pytest.mark.parametrize("tile", [1, 40, 2**20])
@pytest.mark.parametrize("chunk", [1, 3, 64])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_scores_equal_the_loop_whatever_the_tiles(direction, aggregation, chunk, tile, monkeypatch):
    monkeypatch.setattr(similarity, "TILE", tile)
    monkeypatch.setattr(similarity, "QUERY_CHUNK", chunk)
    attention = make(direction, aggregation)
    expected = [[naive(attention, image, text) for text in rows(TEXTS)] for image in rows(IMAGES)]
    with torch.no_grad():
        found = attention.scores(IMAGES, TEXTS)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_pairs_are_the_diagonal(direction, aggregation):
    attention = make(direction, aggregation)
    three = TEXTS.take(torch.arange(3), length=5)
    with torch.no_grad():
        expected = attention.scores(IMAGES, three).diagonal()
        torch.testing.assert_close(attention.paired(IMAGES, three), expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_padding_changes_nothing(direction):
    attention = make(direction)
    padded = fragments(3, 1, 4, seed=0, padding=0)
    grown = Fragments(
        *(
            torch.nn.functional.pad(part, (0, 0, 0, 2) if part.dim() == 3 else (0, 2))
            for part in (padded.values, padded.mask)
        )
    )
    with torch.no_grad():
        one, other = attention.scores(IMAGES, TEXTS), attention.scores(grown, TEXTS)
        torch.testing.assert_close(one, other)
        three = TEXTS.take(torch.arange(3), length=5)
        torch.testing.assert_close(attention.paired(grown, three), one.diagonal())


@pytest.mark.parametrize("tile", [1, 2**20])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradients_equal_those_of_finite_differences(direction, aggregation, tile, monkeypatch):
    monkeypatch.setattr(similarity, "TILE", tile)
    attention = make(direction, aggregation)

    def score(images, texts):
        return attention.scores(Fragments(images, IMAGES.mask), Fragments(texts, TEXTS.mask))

    # Padding is 0 and stays 0: a step there would make a fragment of it.
    values = [side.values.double() for side in (IMAGES, TEXTS)]
    masks = [side.mask.unsqueeze(-1).double() for side in (IMAGES, TEXTS)]
    given = [value.clone().requires_grad_() for value in values]
    assert torch.autograd.gradcheck(
        lambda *sides: score(*(v * m for v, m in zip(sides, masks, strict=True))), given
    )


def test_a_word_attends_to_the_region_that_it_names():
    # Two orthogonal regions: each word finds its own and is wholly like it.
    eye = torch.eye(WIDTH)
    image = Fragments(eye[None, :2], torch.ones(1, 2).bool())
    attention = CrossAttention("t2i", "avg", lambda_softmax=50.0, lambda_lse=1.0)
    for words, expected in (((0, 1), 1.0), ((0, 0), 1.0), ((0, 2), 0.5), ((3, 4), 0.0)):
        text = Fragments(eye[None, list(words)], torch.ones(1, 2).bool())
        assert float(attention.paired(image, text)) == pytest.approx(expected, abs=1e-4)
