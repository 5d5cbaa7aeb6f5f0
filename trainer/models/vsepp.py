"""VSE++ on region features.

Source: Faghri, Fleet, Kiros, Fidler, "VSE++: Improving Visual-Semantic Embeddings with Hard
Negatives", BMVC 2018. There one feature an image; here, as later papers run it on regions, the
mean over regions.
"""

from __future__ import annotations

import torch

from trainer.encoders import Encoded, RegionEncoder, TextEncoder
from trainer.inputs import RegionInputs, Standardizer
from trainer.models.base import EmbeddingModel
from trainer.pooling import masked_mean
from trainer.text import TokenBatch


class VSEPP(EmbeddingModel):
    """A linear image tower with mean pooling; the last state of a GRU.

    Args:
        feature_size: width of a region feature.
        vocabulary_size: rows of the word embedding.
        embed_size: width of the common space.
        word_size: width of a word embedding.
        feature_dropout: on region features (0 in the paper).
        word_dropout: on word embeddings (0 in the paper).
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        embed_size: int,
        word_size: int,
        feature_dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.standardizer = Standardizer(size=feature_size)
        self.regions = RegionEncoder(
            feature_size=feature_size,
            embed_size=embed_size,
            hidden_size=0,
            use_geometry=False,
            dropout=feature_dropout,
        )
        self.text = TextEncoder(
            vocabulary_size=vocabulary_size,
            word_size=word_size,
            embed_size=embed_size,
            bidirectional=False,
            dropout=word_dropout,
        )

    def encode_images(self, regions: RegionInputs) -> Encoded:
        fragments = self.regions(self.standardizer(regions))
        pooled = masked_mean(fragments, regions.mask)
        weights = regions.mask / regions.mask.sum(1, keepdim=True)
        return Encoded.of(pooled, fragments, weights, regions.mask)

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        fragments = self.text(tokens)
        last = tokens.lengths - 1
        rows = torch.arange(len(last), device=last.device)
        weights = torch.zeros_like(tokens.ids, dtype=fragments.dtype)
        weights[rows, last] = 1
        return Encoded.of(fragments[rows, last], fragments, weights, tokens.mask)
