"""Fragments of images and sentences.

Letters: B batch, R regions, T tokens, D feature width, E word width, d embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainer.inputs import GEOMETRY_SIZE, RegionInputs, geometry
from trainer.text import TokenBatch

WORD_RANGE = 0.1
"""Words start uniform in +-WORD_RANGE, as in the published code of VSE++, SCAN and VSE-infinity."""


@dataclass(frozen=True)
class Encoded:
    """An encoder's view of a batch.

    Attributes:
        pooled: (B, d) float32, L2-normalised: what similarity and search compare.
        fragments: (B, L, d) float32, regions or words before pooling.
        weights: (B, L) float32, sums to 1 over the unmasked fragments: how much each counts.
        mask: (B, L) bool.
    """

    pooled: Tensor
    fragments: Tensor
    weights: Tensor
    mask: Tensor

    @classmethod
    def of(cls, pooled: Tensor, fragments: Tensor, weights: Tensor, mask: Tensor) -> Encoded:
        """From what an encoder computed, in any precision and not yet normalised."""
        return cls(F.normalize(pooled.float(), dim=-1), fragments.float(), weights.float(), mask)


class RegionEncoder(nn.Module):
    """Linear + residual MLP of standardised features and box geometry, optional self-attention.

    Args:
        feature_size: D.
        embed_size: d.
        hidden_size: width of the MLP's hidden layer; 0 leaves the MLP out.
        use_geometry: add a linear map of the box (x1 y1 x2 y2 area).
        attention_layers: transformer layers over the regions of an image.
        heads: of each of these layers.
        dropout: on the standardised features and in the MLP. Of the features it hides whole
            channels of an image, in all its regions: neighbouring regions tell much the same.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        embed_size: int,
        hidden_size: int,
        use_geometry: bool = True,
        attention_layers: int = 0,
        heads: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout1d(dropout)
        self.linear = nn.Linear(feature_size, embed_size)
        self.geometry = nn.Linear(GEOMETRY_SIZE, embed_size, bias=False) if use_geometry else None
        self.mlp = (
            nn.Sequential(
                nn.Linear(feature_size, hidden_size),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden_size, embed_size),
            )
            if hidden_size
            else None
        )
        self.attention = (
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    embed_size,
                    nhead=heads,
                    dim_feedforward=2 * embed_size,
                    dropout=dropout,
                    batch_first=True,
                    norm_first=True,
                ),
                attention_layers,
                enable_nested_tensor=False,
            )
            if attention_layers
            else None
        )

    def forward(self, regions: RegionInputs) -> Tensor:
        """(B, R, D) standardised features and their boxes -> (B, R, d) fragments."""
        features = self.dropout(regions.features.transpose(1, 2)).transpose(1, 2)
        fragments: Tensor = self.linear(features)
        if self.mlp is not None:
            fragments = fragments + self.mlp(features)
        if self.geometry is not None:
            fragments = fragments + self.geometry(geometry(regions.boxes))
        if self.attention is not None:
            fragments = self.attention(fragments, src_key_padding_mask=~regions.mask)
        return fragments


class TextEncoder(nn.Module):
    """Word embedding -> GRU; the two directions of a BiGRU are averaged.

    Args:
        vocabulary_size: rows of the embedding, padding included.
        word_size: E.
        embed_size: d, the width of each direction.
        bidirectional: BiGRU, else GRU.
        dropout: on the word embeddings.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        word_size: int,
        embed_size: int,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary_size, word_size, padding_idx=0)
        # Unit variance, torch's default, drowns a sentence in the noise of words that were seen a
        # few times: with few captions it costs every model 20 to 30 percent of its rsum.
        with torch.no_grad():
            self.words.weight[1:].uniform_(-WORD_RANGE, WORD_RANGE)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(word_size, embed_size, batch_first=True, bidirectional=bidirectional)

    def forward(self, tokens: TokenBatch) -> Tensor:
        """(B, T) token rows -> (B, T, d) fragments."""
        embedded = self.dropout(self.words(tokens.ids))
        packed = pack_padded_sequence(
            embedded, tokens.lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        hidden, _ = pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=tokens.ids.shape[1]
        )
        if self.gru.bidirectional:
            half = hidden.shape[-1] // 2
            hidden = (hidden[..., :half] + hidden[..., half:]) / 2
        return torch.as_tensor(hidden)
