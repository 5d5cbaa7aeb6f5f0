"""A3VSE: adversarial attentive alignment with regional semantics.

Source: Huang, Kang, Liu, Chang, Hauptmann, ACM Multimedia 2019. docs/method.md says what is the
paper's and what is our reading of it.

The discriminators are no part of this model: only training needs them (trainer/objectives.py).
"""

from __future__ import annotations

from trainer.encoders import Encoded, RegionEncoder, TextEncoder
from trainer.inputs import RegionInputs, Standardizer
from trainer.models.base import EmbeddingModel
from trainer.pooling import AttentivePooling, masked_mean
from trainer.text import TokenBatch


class A3VSE(EmbeddingModel):
    """Attentive pooling over regions and over words; one text tower for captions and semantics.

    Args:
        feature_size: width of a region feature.
        vocabulary_size: rows of the word embedding.
        embed_size: width of the common space.
        word_size: width of a word embedding.
        hidden_size: width of the region MLP; 0 leaves it out.
        heads: attention heads of each pooling, and of each self-attention layer.
        attention_layers: self-attention layers over the regions.
        feature_dropout: on the features and in the MLP.
        word_dropout: on the word embeddings.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        embed_size: int,
        word_size: int,
        hidden_size: int,
        heads: int,
        attention_layers: int,
        feature_dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.standardizer = Standardizer(size=feature_size)
        self.regions = RegionEncoder(
            feature_size=feature_size,
            embed_size=embed_size,
            hidden_size=hidden_size,
            attention_layers=attention_layers,
            heads=heads,
            dropout=feature_dropout,
        )
        self.region_pooling = AttentivePooling(size=embed_size, heads=heads)
        self.text = TextEncoder(
            vocabulary_size=vocabulary_size,
            word_size=word_size,
            embed_size=embed_size,
            dropout=word_dropout,
        )
        self.text_pooling = AttentivePooling(size=embed_size, heads=heads)

    def encode_images(self, regions: RegionInputs) -> Encoded:
        fragments = self.regions(self.standardizer(regions))
        pooled, weights = self.region_pooling(fragments, regions.mask)
        pooled = pooled + masked_mean(fragments, regions.mask)
        return Encoded.of(pooled, fragments, weights, regions.mask)

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        fragments = self.text(tokens)
        pooled, weights = self.text_pooling(fragments, tokens.mask)
        pooled = pooled + masked_mean(fragments, tokens.mask)
        return Encoded.of(pooled, fragments, weights, tokens.mask)
