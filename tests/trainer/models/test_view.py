"""Rows in blocks, against all of them at once."""

from __future__ import annotations

import pytest
import torch

from trainer.models import tf_idf, view
from trainer.models.concepts import DEVIATION_FLOOR, ConceptTower
from trainer.models.linear import LinearTower
from trainer.models.view import CentredSparseView, View, covariances
from trainer.text import pad

WORDS, IMAGES = 12, 40


@pytest.fixture(params=[1, 7, 1000])
def block(request, monkeypatch):
    """However many rows are computed at a time."""
    monkeypatch.setattr(view, "BLOCK", request.param)
    monkeypatch.setattr(tf_idf, "CHUNK", request.param)
    return request.param


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_sums_over_blocks_are_those_of_all_rows(block):
    first, second = random(20, 3), random(20, 4, seed=1)
    torch.testing.assert_close(View.of(first).mean(), first.mean(0))
    torch.testing.assert_close(View.of(first).gram(), first.T @ first)
    found = covariances(View.of(first), View.of(second))
    for one, other in zip(
        found, (first.T @ first, second.T @ second, first.T @ second), strict=True
    ):
        torch.testing.assert_close(one, other / 20)


def test_no_more_rows_than_a_block_are_asked_for(block):
    asked = []

    def rows(part):
        asked.append(part.stop - part.start)
        return random(20, 3)[part]

    View(20, 3, rows).gram()
    assert sum(asked) == 20
    assert max(asked) == min(block, 20)


def test_products_of_rows_with_zeros_are_those_of_all_columns(block):
    values = random(20, 6) * (random(20, 6, seed=1) > 1)
    assert 0 < (values != 0).sum() < 40
    sparse = CentredSparseView.from_raw(20, 6, lambda rows: values[rows])
    centred, axes = values - values.mean(0), random(6, 2, seed=2)
    torch.testing.assert_close(torch.cat(list(sparse.blocks())), centred)
    torch.testing.assert_close(sparse.gram(), centred.T @ centred)
    torch.testing.assert_close(torch.cat(list(sparse.along(axes).blocks())), centred @ axes)


def captions():
    generator = torch.Generator().manual_seed(2)
    return pad(torch.randint(2, WORDS, (2 * IMAGES, 5), generator=generator).tolist())


def fitted_cca():
    model = LinearTower(
        feature_size=3,
        objects_size=0,
        vocabulary_size=WORDS,
        image_components=9,
        text_components=9,
        embed_size=4,
        ridge=0.1,
        power=1.0,
        context=0.5,
        objects=0.0,
    )
    # Two words are one: the column of the second is never used.
    columns = torch.arange(WORDS)
    columns[5] = 4
    correlations = model.fit(
        random(IMAGES, 9).float(), torch.arange(IMAGES).repeat_interleave(2), captions(), columns
    )
    return model, correlations


def fitted_concepts():
    model = ConceptTower(sources=(4, 2), vocabulary_size=WORDS, size=5)
    generator = torch.Generator().manual_seed(3)
    meant = torch.rand(6, WORDS, generator=generator) < 0.2
    meant[:, :3] = False
    evidence = torch.rand(IMAGES, 6, generator=generator)
    model.fit(meant, View.of(evidence), captions(), torch.arange(WORDS))
    return model, evidence


def test_what_is_solved_does_not_depend_on_the_blocks(block, monkeypatch):
    model, correlations = fitted_cca()
    tower, evidence = fitted_concepts()
    monkeypatch.setattr(view, "BLOCK", 10_000)
    monkeypatch.setattr(tf_idf, "CHUNK", 10_000)
    whole, expected = fitted_cca()
    torch.testing.assert_close(correlations, expected)
    torch.testing.assert_close(model.text_mean, whole.text_mean)
    # The sign of an axis is free, and the same for both sides.
    torch.testing.assert_close(
        model.image_map @ model.text_map.T, whole.image_map @ whole.text_map.T, atol=1e-5, rtol=1e-4
    )
    entire, _ = fitted_concepts()
    for one, other in (
        (tower.root_mean, entire.root_mean),
        (tower.root_deviation, entire.root_deviation),
    ):
        torch.testing.assert_close(one, other)
    found, wanted = (
        one.embed_images(evidence) @ one.embed_texts(captions()).T for one in (tower, entire)
    )
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_statistics_of_words_are_those_of_all_images(block):
    tower, evidence = fitted_concepts()
    words = tower._words(evidence.sqrt(), tower.meant)
    torch.testing.assert_close(tower.root_mean, words.mean(1), atol=1e-6, rtol=1e-5)
    deviation = words.std(1, correction=0) + DEVIATION_FLOOR
    torch.testing.assert_close(tower.root_deviation, deviation, atol=1e-6, rtol=1e-5)
