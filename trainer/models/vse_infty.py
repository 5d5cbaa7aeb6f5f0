"""VSE-infinity: generalised pooling on both sides.

Source: Chen, Hu, Wu, Wang, Zhu, Liu, Yang, "Learning the Best Pooling Strategy for Visual Semantic
Embedding", CVPR 2021.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.encoders import Encoded, TextEncoder
from trainer.inputs import RegionInputs, Standardizer
from trainer.models.base import EmbeddingModel
from trainer.pooling import GeneralizedPooling
from trainer.text import TokenBatch


class _BatchNormMLP(nn.Module):
    """Two linear layers with batch normalisation over all fragments of the batch."""

    def __init__(self, *, size: int, hidden_size: int, out_size: int) -> None:
        super().__init__()
        self.first = nn.Linear(size, hidden_size)
        self.norm = nn.BatchNorm1d(hidden_size)
        self.second = nn.Linear(hidden_size, out_size)

    def forward(self, features: Tensor) -> Tensor:
        """(N, size) -> (N, out_size)."""
        result: Tensor = self.second(F.relu(self.norm(self.first(features))))
        return result


class VSEInfty(EmbeddingModel):
    """Linear + MLP regions and BiGRU words, each under a generalised pooling operator.

    Args:
        feature_size: width of a region feature.
        vocabulary_size: rows of the word embedding.
        embed_size: width of the common space.
        word_size: width of a word embedding.
        dropout: on the words (0 in the paper).
        region_drop: share of regions that is left out at random in training (0.2 in the paper).
    """

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        embed_size: int,
        word_size: int,
        dropout: float,
        region_drop: float,
    ) -> None:
        super().__init__()
        self.region_drop = region_drop
        self.standardizer = Standardizer(size=feature_size)
        self.linear = nn.Linear(feature_size, embed_size)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.mlp = _BatchNormMLP(
            size=feature_size, hidden_size=embed_size // 2, out_size=embed_size
        )
        self.region_pooling = GeneralizedPooling()
        self.text = TextEncoder(
            vocabulary_size=vocabulary_size,
            word_size=word_size,
            embed_size=embed_size,
            dropout=dropout,
        )
        self.text_pooling = GeneralizedPooling()

    def encode_images(self, regions: RegionInputs) -> Encoded:
        mask = regions.mask
        if self.training and self.region_drop:
            kept = torch.rand(mask.shape, device=mask.device) >= self.region_drop
            kept[:, 0] = True  # the whole image stays, so that no row is empty
            mask = mask & kept
        features = self.standardizer(regions).features
        fragments = features.new_zeros(*mask.shape, self.linear.out_features)
        # Padding must not enter the batch statistics.
        used = features[mask]
        fragments[mask] = (self.linear(used) + self.mlp(used)).to(fragments.dtype)
        pooled, weights = self.region_pooling(fragments, mask)
        return Encoded.of(pooled, fragments, weights, mask)

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        fragments = self.text(tokens)
        pooled, weights = self.text_pooling(fragments, tokens.mask)
        return Encoded.of(pooled, fragments, weights, tokens.mask)
