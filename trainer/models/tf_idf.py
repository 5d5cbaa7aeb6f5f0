"""Sublinear TF-IDF of token batches.

Letters: B sentences, W rows of the vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.text import PAD, UNKNOWN, TokenBatch

CHUNK = 1024


class TfIdf(nn.Module):
    """L2-normalised log(1 + term frequency) times inverse document frequency.

    Source: Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988.

    Args:
        vocabulary_size: W.
    """

    idf: Tensor
    columns: Tensor

    def __init__(self, *, vocabulary_size: int) -> None:
        super().__init__()
        self.register_buffer("idf", torch.ones(vocabulary_size))
        self.register_buffer("columns", torch.arange(vocabulary_size))

    def fit(self, tokens: TokenBatch, columns: Tensor | None = None) -> None:
        """Count documents.

        Args:
            tokens: the kept captions.
            columns: (W,) int64, the column in which each word is counted; None for its own.
        """
        if columns is not None:
            self.columns.copy_(columns)
        documents = torch.zeros(len(self.idf), dtype=torch.int64)
        for ids in tokens.ids.split(CHUNK):
            seen = torch.zeros(len(ids), len(self.idf), dtype=torch.bool)
            documents += seen.scatter_(1, self.columns[ids], True).sum(0)
        self.idf.copy_(torch.log((1 + len(tokens.ids)) / (1 + documents.float())) + 1)

    def forward(self, tokens: TokenBatch) -> Tensor:
        """(B, W) float32."""
        counts = torch.zeros(len(tokens.ids), len(self.idf), device=tokens.ids.device)
        ones = torch.ones_like(tokens.ids, dtype=counts.dtype)
        counts.scatter_add_(1, self.columns[tokens.ids], ones)
        counts[:, [PAD, UNKNOWN]] = 0
        return F.normalize(counts.log1p() * self.idf, dim=-1)
