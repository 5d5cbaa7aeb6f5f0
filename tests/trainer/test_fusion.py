from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from trainer.fusion import IMAGES, TEXTS, fuse


@pytest.mark.parametrize("length", [1.0, 0.5])
def test_products_are_weighted_sums_and_lengths_are_one(length):
    generator = torch.Generator().manual_seed(0)
    images, texts = (
        [length * normalize(torch.randn(4, width, generator=generator), dim=1) for width in (3, 5)]
        for _ in range(2)
    )
    one, other = fuse(images, (0.3, 0.7), side=IMAGES), fuse(texts, (0.3, 0.7), side=TEXTS)
    assert one.shape == (4, 3 + 5 + 2)
    expected = 0.3 * images[0] @ texts[0].T + 0.7 * images[1] @ texts[1].T
    torch.testing.assert_close(one @ other.T, expected)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(other.norm(dim=1), torch.ones(4))
