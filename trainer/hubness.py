"""Hubness correction: what is near to everything is near to nothing in particular.

In a space of many dimensions some images are among the nearest of very many sentences, and some
sentences of very many images, for no reason of content. Cross-domain similarity local scaling
subtracts from each similarity how near either side is to the other modality in general.

Sources: Radovanović, Nanopoulos, Ivanović, "Hubs in Space", JMLR 2010; Conneau, Lample, Ranzato,
Denoyer, Jégou, "Word Translation Without Parallel Data", ICLR 2018 (equation 2). That compares with
the items to be ranked; here both banks are of training data, so that no score depends on what else
is tested, and un-annotated images serve in theirs.

Letters: B batch, d width, K size of a bank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.fusion import IMAGES, SLACK, TEXTS, fuse


class HubnessCorrection(nn.Module):
    """Embeddings whose product is ``(cosine - w r_image - w r_text) / (1 + 2 w)``.

    ``r`` is the mean cosine with the nearest of the other modality's bank.

    Args:
        width: d.
        bank: K, at most so many images and so many sentences are remembered.
        neighbours: of the bank that are averaged.
        weight: w; the published correction has one half.
    """

    COLUMNS = 2 + SLACK
    """How many an embedding has more when it is corrected."""

    image_bank: Tensor
    text_bank: Tensor
    known: Tensor

    def __init__(self, *, width: int, bank: int, neighbours: int, weight: float) -> None:
        super().__init__()
        self.neighbours, self.weight = neighbours, weight
        self.register_buffer("image_bank", torch.zeros(bank, width))
        self.register_buffer("text_bank", torch.zeros(bank, width))
        self.register_buffer("known", torch.zeros(2, dtype=torch.int64))

    def fit(self, images: Tensor, texts: Tensor) -> None:
        """Remember (at most K, d) embeddings of training images and of kept captions."""
        for side, bank, rows in (
            (IMAGES, self.image_bank, images),
            (TEXTS, self.text_bank, texts),
        ):
            bank.zero_()[: len(rows)].copy_(rows)
            self.known[side] = len(rows)

    def correct(self, embeddings: Tensor, *, side: int) -> Tensor:
        """(B, d) of length 1 -> (B, d + COLUMNS) of length 1.

        Args:
            embeddings: of images or of sentences.
            side: ``IMAGES`` or ``TEXTS`` (trainer/fusion.py).
        """
        nearness = self.nearness(embeddings, side=side)
        # The product of an image's and a text's pair is half of minus both nearnesses.
        ones = torch.ones_like(nearness)
        pair = (-nearness, ones) if side == IMAGES else (ones, -nearness)
        bias = torch.stack(pair, dim=1) * 0.5**0.5
        total = 1 + 2 * self.weight
        return fuse((embeddings, bias), (1 / total, 2 * self.weight / total), side=side)

    def nearness(self, embeddings: Tensor, *, side: int) -> Tensor:
        """(B,) mean cosine with the nearest of the other side; 0 where nothing is remembered."""
        other, bank = (TEXTS, self.text_bank) if side == IMAGES else (IMAGES, self.image_bank)
        bank = bank[: int(self.known[other])]
        if not len(bank):
            return embeddings.new_zeros(len(embeddings))
        nearest = (embeddings @ bank.T).topk(min(self.neighbours, len(bank)), dim=1).values
        return nearest.mean(1)
