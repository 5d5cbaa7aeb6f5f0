"""The concept tower, against its definition written out."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.models.concepts import DEVIATION_FLOOR, ConceptTower
from trainer.models.view import View
from trainer.text import pad

# Words 2 to 5; concepts 0 and 1 of one source, concept 2 of another.
MEANT = torch.tensor([[0, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]]).bool()
EVIDENCE = torch.tensor([[0.9, 0.0, 0.1], [0.2, 0.5, 0.0], [0.0, 0.0, 0.8], [0.4, 0.1, 0.05]])
CAPTIONS = pad([[2, 3], [4], [5, 2, 2], [3]])


@pytest.fixture
def tower():
    model = ConceptTower(sources=(2, 1), vocabulary_size=6, size=6)
    model.fit(MEANT, View.of(EVIDENCE), CAPTIONS, torch.arange(6))
    return model


def naive_words(evidence, meant):
    return [
        [
            1 - math.prod(1 - p for p, means in zip(row, column, strict=True) if means)
            for column in zip(*meant, strict=True)
        ]
        for row in evidence
    ]


def test_images_are_standardised_evidence_for_words(tower):
    total = torch.zeros(4, 6)
    for source in (slice(0, 2), slice(2, 3)):
        roots = EVIDENCE[:, source].sqrt().tolist()
        words = torch.tensor(naive_words(roots, MEANT[source].tolist()))
        total += (words - words.mean(0)) / (words.std(0, correction=0) + DEVIATION_FLOOR)
    expected = torch.nn.functional.normalize(total, dim=1)
    found = tower.embed_images(EVIDENCE)
    # The axes turn the space, but keep all products: nothing is cut off here.
    torch.testing.assert_close(found @ found.T, expected @ expected.T, atol=1e-4, rtol=1e-4)


def test_a_sentence_is_closest_to_the_image_that_shows_its_words(tower):
    similarity = tower.embed_images(EVIDENCE) @ tower.embed_texts(pad([[2, 3], [4]])).T
    assert similarity.argmax(0).tolist() == [0, 2]


def test_few_axes_keep_most_of_it_and_lengths_are_one_at_most(tower):
    small = ConceptTower(sources=(2, 1), vocabulary_size=6, size=2)
    small.fit(MEANT, View.of(EVIDENCE), CAPTIONS, torch.arange(6))
    whole = tower.embed_images(EVIDENCE) @ tower.embed_texts(CAPTIONS).T
    kept = small.embed_images(EVIDENCE) @ small.embed_texts(CAPTIONS).T
    assert kept.shape == (4, 4)
    assert (whole - kept).norm() < 0.5 * whole.norm()
    for rows in (small.embed_images(EVIDENCE), small.embed_texts(CAPTIONS)):
        assert rows.norm(dim=1).max() <= 1 + 1e-5


def test_a_certain_concept_is_no_infinity(tower):
    assert torch.isfinite(tower.embed_images(torch.ones(1, 3))).all()


def test_evidence_for_words_is_that_of_the_surest_source(tower):
    sure, standing = tower.evidence_for_words(EVIDENCE)
    sources = [
        torch.tensor(naive_words(EVIDENCE[:, source].tolist(), MEANT[source].tolist()))
        for source in (slice(0, 2), slice(2, 3))
    ]
    torch.testing.assert_close(sure, torch.maximum(*sources), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(standing.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(standing @ tower.projection, tower.embed_images(EVIDENCE))
