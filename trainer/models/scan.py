"""SCAN: stacked cross attention.

Source: Lee, Chen, Hua, Hu, He, "Stacked Cross Attention for Image-Text Matching", ECCV 2018.
"""

from __future__ import annotations

from torch import Tensor

from trainer.encoders import Encoded, RegionEncoder, TextEncoder
from trainer.inputs import RegionInputs, Standardizer
from trainer.models.base import PairModel
from trainer.pooling import masked_mean
from trainer.similarity import CrossAttention
from trainer.text import TokenBatch


class SCAN(PairModel):
    """Linear regions and BiGRU words, compared by cross attention.

    Args:
        attention: how images and texts are compared.
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
        attention: CrossAttention,
        feature_size: int,
        vocabulary_size: int,
        embed_size: int,
        word_size: int,
        feature_dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.cross_attention = attention
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
            dropout=word_dropout,
        )

    def encode_images(self, regions: RegionInputs) -> Encoded:
        return _unpooled(self.regions(self.standardizer(regions)), regions.mask)

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        return _unpooled(self.text(tokens), tokens.mask)


def _unpooled(fragments: Tensor, mask: Tensor) -> Encoded:
    """Fragments that count alike."""
    weights = mask / mask.sum(1, keepdim=True)
    return Encoded.of(masked_mean(fragments, mask), fragments, weights, mask)
