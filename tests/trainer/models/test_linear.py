"""The linear tower and its solver, against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trainer.models.canonical import canonical_directions, principal_axes
from trainer.models.linear import DEVIATION_FLOOR, LinearTower
from trainer.models.view import View
from trainer.text import pad


def views(pairs=60, first=5, second=4):
    """Two centred views that share two directions, one more than the other."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(pairs, 2, generator=generator, dtype=torch.float64)
    one, other = (
        common @ torch.randn(2, width, generator=generator, dtype=torch.float64)
        + 0.5 * torch.randn(pairs, width, generator=generator, dtype=torch.float64)
        for width in (first, second)
    )
    return one - one.mean(0), other - other.mean(0)


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 1.0])
def test_directions_solve_the_generalised_eigenproblem(ridge):
    """Cxy Cyy^-1 Cyx w = rho^2 Cxx w, solved by numpy."""
    first, second = views()
    left, right, correlations = canonical_directions(
        View.of(first), View.of(second), size=3, ridge=ridge
    )
    x, y = first.numpy(), second.numpy()

    def regularised(view):
        covariance = view.T @ view / len(view)
        return covariance + ridge * np.trace(covariance) / len(covariance) * np.eye(view.shape[1])

    xx, yy, xy = regularised(x), regularised(y), x.T @ y / len(x)
    product = np.linalg.solve(xx, xy) @ np.linalg.solve(yy, xy.T)
    values, vectors = np.linalg.eig(product)
    order = np.argsort(-values.real)[:3]
    np.testing.assert_allclose(correlations.numpy() ** 2, values.real[order], rtol=1e-6)
    for column, place in enumerate(order):
        expected, found = vectors[:, place].real, left[:, column].numpy()
        cosine = expected @ found / np.linalg.norm(expected) / np.linalg.norm(found)
        assert abs(cosine) == pytest.approx(1, abs=1e-6)
    # Unit variance of each side, and the correlations between them.
    np.testing.assert_allclose(left.numpy().T @ xx @ left.numpy(), np.eye(3), atol=1e-8)
    np.testing.assert_allclose(right.numpy().T @ yy @ right.numpy(), np.eye(3), atol=1e-8)
    between = left.numpy().T @ xy @ right.numpy()
    np.testing.assert_allclose(between, np.diag(correlations.numpy()), atol=1e-8)


def test_both_ways_to_principal_axes_agree():
    # The wide view is the same data among more channels, so that the smaller matrix is the other.
    generator = torch.Generator().manual_seed(0)
    tall = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    tall = tall - tall.mean(0)
    embedding = torch.linalg.qr(torch.randn(9, 9, generator=generator, dtype=torch.float64))[0][:4]
    wide = tall @ embedding  # (6, 9)
    one, other = (principal_axes(View.of(view), size=3) for view in (tall, wide))
    assert one.shape == (4, 3)
    assert other.shape == (9, 3)
    for axes in (one, other):
        torch.testing.assert_close(axes.T @ axes, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close((tall @ one).abs(), (wide @ other).abs())
    variances = (tall @ one).square().sum(0)
    expected = torch.linalg.eigvalsh(tall.T @ tall).flip(0)[:3]
    torch.testing.assert_close(variances, expected)


def test_axes_are_no_more_than_there_can_be():
    assert principal_axes(View.of(torch.randn(3, 5, dtype=torch.float64)), size=9).shape == (5, 3)
    assert principal_axes(View.of(torch.randn(5, 3, dtype=torch.float64)), size=9).shape == (3, 3)


def make(words=7, **settings):
    defaults = {
        "feature_size": 3,
        "objects_size": 0,
        "vocabulary_size": words,
        "image_components": 9,
        "text_components": 9,
        "embed_size": 2,
        "ridge": 0.01,
        "power": 1.0,
        "context": 0.5,
        "objects": 0.0,
    }
    return LinearTower(**{**defaults, **settings})


def test_tf_idf_against_a_loop():
    model = make()
    captions = [[2, 2, 3, 1], [3, 4], [3, 5, 6, 6, 6]]
    owner = torch.arange(3)
    model.fit(torch.randn(3, 9, generator=torch.Generator().manual_seed(0)), owner, pad(captions))
    found = model.tf_idf(pad(captions))
    for row, caption in enumerate(captions):
        expected = [0.0] * 7
        for word in set(caption) - {1}:
            documents = sum(word in other for other in captions)
            idf = math.log((1 + len(captions)) / (1 + documents)) + 1
            expected[word] = math.log1p(caption.count(word)) * idf
        length = math.sqrt(sum(value**2 for value in expected))
        assert found[row].tolist() == pytest.approx([value / length for value in expected])


def test_a_fit_finds_what_the_views_share():
    """Words name the sign of two factors of the features: unseen pairs are matched."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(0, 2, (80, 2), generator=generator)
    pooled = torch.randn(80, 9, generator=generator)
    pooled[:, :2] = 2.0 * factors + 0.1 * pooled[:, :2]
    tokens = pad([[2 + a, 4 + b] for a, b in factors.tolist()])
    model = make()
    correlations = model.fit(
        pooled[:60], torch.arange(60), type(tokens)(tokens.ids[:60], tokens.lengths[:60])
    )
    assert correlations.tolist() == sorted(correlations.tolist(), reverse=True)
    assert correlations.min() > 0.9
    images = model._scale(pooled[60:]) @ model.image_map
    images = torch.nn.functional.normalize(images, dim=-1)
    texts = model.embed_texts(pad([[2, 4], [2, 5], [3, 4], [3, 5]]))
    nearest = (images @ texts.T).argmax(1)
    assert torch.equal(nearest, factors[60:, 0] * 2 + factors[60:, 1])


def test_fewer_directions_than_asked_for():
    model = make(embed_size=20)
    captions = pad([[2], [3], [2, 3], [4]])
    pooled = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    correlations = model.fit(pooled, torch.arange(4), captions)
    assert len(correlations) < 20
    assert torch.isfinite(model.image_map).all()
    assert torch.isfinite(model.embed_texts(captions)).all()
    assert model.image_map[:, len(correlations) :].eq(0).all()


def test_pooling_against_numpy(build, make_regions):
    model = build("cca", cca__context=0.25).linear
    regions = make_regions(3, 1, 4)
    for row, count in enumerate((3, 1, 4)):
        features = regions.features[row, :count].numpy()
        expected = (features[0], features.mean(0), features.max(0))
        found = model.pool(regions, None)[row]
        np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4, atol=1e-6)
        whole, rest = np.split(model.standardizer.scale(found).numpy(), [6])
        scaled = np.concatenate((whole, 0.25 * rest))
        np.testing.assert_allclose(model._scale(found[None])[0], scaled, rtol=1e-5)


@pytest.mark.parametrize("images", [4, 40], ids=["fewer than columns", "more than columns"])
def test_the_bag_of_objects_is_weighed_beside_the_whole_image(make_regions, images):
    tower = make(feature_size=6, objects_size=4, objects=0.5, embed_size=4)
    generator = torch.Generator().manual_seed(0)
    regions = make_regions(*(1 + row % 4 for row in range(images)))
    objects = torch.rand(images, 4, generator=generator)
    objects[:, 3] = 0  # an object that no annotated image shows
    pooled = tower.pool(regions, objects)
    assert torch.equal(pooled[:, 18:], objects)
    tower.fit(pooled, torch.arange(images), pad([[2 + row % 4] for row in range(images)]))
    expected = (objects - objects.mean(0)) / (objects.std(0, correction=0) + DEVIATION_FLOOR)
    torch.testing.assert_close(tower._scale(pooled)[:, 18:], 0.5 * expected)
    found = tower.embed_images(regions, objects)
    nothing_known = objects + torch.tensor([0.0, 0, 0, 1])
    torch.testing.assert_close(tower.embed_images(regions, nothing_known), found)
    assert (tower.embed_images(regions, objects.flip(0)) - found).abs().max() > 0.01


def test_a_tower_that_sees_no_objects_looks_at_none(make_regions):
    tower = make(feature_size=6)
    regions = make_regions(3, 1)
    assert torch.equal(tower.pool(regions, None), tower.pool(regions, torch.rand(2, 5)))


def test_weights_are_no_integers():
    assert make(context=1, objects_size=2, objects=0.5).weights.tolist()[-2:] == [0.5, 0.5]
