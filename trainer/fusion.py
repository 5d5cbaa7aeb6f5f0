"""Several similarities as one: the weighted sum of the towers' cosines is a cosine again.

So a model of several towers is searched like any other, by one vector an image.

Letters: B batch, d widths of the towers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

IMAGES, TEXTS = 0, 1
SLACK = 2  # columns, one of each side
ROUNDING = 1e-5


def fuse(parts: Sequence[Tensor], shares: Sequence[float], *, side: int) -> Tensor:
    """One embedding of several.

    The product of an image's and a text's is the sum of the towers' products, each times its
    share.

    Args:
        parts: (B, d_i) float32 each, of length 1 at most.
        shares: of the towers; they sum to 1.
        side: ``IMAGES`` or ``TEXTS``.

    Returns:
        (B, sum d_i + SLACK) float32, of length 1: two more columns take what is missing in length,
        one for each side, so that they add nothing to the product of an image's and a text's. To
        that of two images, or two texts, they would: see ``trainer/search.py``.
    """
    joined = torch.cat([part * share**0.5 for part, share in zip(parts, shares, strict=True)], 1)
    missing = 1 - joined.square().sum(1, keepdim=True)
    # Below this it is rounding, whose root would be a thousand times as large.
    missing = torch.where(missing > ROUNDING, missing, torch.zeros_like(missing)).sqrt()
    slack = torch.zeros(len(joined), SLACK, dtype=joined.dtype, device=joined.device)
    slack[:, side : side + 1] = missing
    return torch.cat((joined, slack), 1)
