from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from trainer.fusion import IMAGES, TEXTS
from trainer.hubness import HubnessCorrection


def unit(rows: int, *, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def correction(**changes) -> HubnessCorrection:
    return HubnessCorrection(**{"width": 6, "bank": 9, "neighbours": 3, "weight": 0.5, **changes})


def nearness(rows: torch.Tensor, bank: torch.Tensor, neighbours: int) -> np.ndarray:
    cosines = np.sort((rows @ bank.T).numpy(), axis=1)[:, ::-1]
    return cosines[:, :neighbours].mean(axis=1)


@pytest.mark.parametrize("weight", [0.5, 0.2, 2.0])
def test_products_are_corrected_cosines_and_lengths_are_one(weight):
    images, texts, image_bank, text_bank = (unit(n, seed=n) for n in (4, 5, 7, 8))
    module = correction(weight=weight)
    module.fit(image_bank, text_bank)
    one, other = module.correct(images, side=IMAGES), module.correct(texts, side=TEXTS)
    assert one.shape == (4, 6 + 4)
    expected = (
        (images @ texts.T).numpy()
        - weight * nearness(images, text_bank, 3)[:, None]
        - weight * nearness(texts, image_bank, 3)[None]
    ) / (1 + 2 * weight)
    np.testing.assert_allclose((one @ other.T).numpy(), expected, atol=1e-6)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(other.norm(dim=1), torch.ones(5))


def test_a_small_bank_is_used_whole_and_padding_is_no_neighbour():
    module = correction(neighbours=5)
    images, texts = unit(2, seed=1), unit(3, seed=2)
    module.fit(unit(9, seed=3), unit(9, seed=4))
    module.fit(-images, -images)  # what was remembered before is forgotten
    found = module.correct(images, side=IMAGES) @ module.correct(texts, side=TEXTS).T
    expected = images @ texts.T + 0.5 * ((images @ images.T).mean(1, keepdim=True))
    expected = expected + 0.5 * (texts @ images.T).mean(1)
    torch.testing.assert_close(found, expected / 2)


def test_without_a_bank_the_order_is_that_of_the_cosines():
    images, texts = unit(2, seed=1), unit(3, seed=2)
    module = correction()
    found = module.correct(images, side=IMAGES) @ module.correct(texts, side=TEXTS).T
    torch.testing.assert_close(found, images @ texts.T / 2)


def test_a_hub_loses_its_place():
    """An image near to the mean of all sentences is nobody's first."""
    generator = torch.Generator().manual_seed(0)
    texts = normalize(torch.randn(50, 6, generator=generator) + 1.0, dim=1)
    images = normalize(texts + 0.3 * torch.randn(50, 6, generator=generator), dim=1)
    images[0] = normalize(texts.mean(0), dim=0)
    module = correction(bank=50, neighbours=10)
    module.fit(images, texts)
    before = (images @ texts.T).argmax(0)
    after = (module.correct(images, side=IMAGES) @ module.correct(texts, side=TEXTS).T).argmax(0)
    assert (after == 0).sum() < (before == 0).sum()
