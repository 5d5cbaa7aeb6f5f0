"""From fragments to one vector.

Letters: B batch, L fragments (regions R or tokens T), d embedding width, K heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def masked_mean(fragments: Tensor, mask: Tensor) -> Tensor:
    """Mean over the unmasked fragments: (B, L, d), (B, L) bool -> (B, d)."""
    weights = mask.unsqueeze(-1).to(fragments.dtype)
    return (fragments * weights).sum(1) / weights.sum(1).clamp_min(1)


def masked_max(fragments: Tensor, mask: Tensor) -> Tensor:
    """Maximum over the unmasked fragments: (B, L, d), (B, L) bool -> (B, d)."""
    return fragments.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)


class AttentivePooling(nn.Module):
    """K heads of additive attention, alpha = softmax(u' tanh(W H)); each pools d / K channels.

    Source: structured self-attention (Lin et al., ICLR 2017), as docs/method.md uses it.

    Args:
        size: d.
        heads: K.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    def __init__(self, *, size: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or size % heads:
            raise ValueError(f"heads={heads} does not divide the embedding width {size}")
        self.heads = heads
        self.hidden = nn.Linear(size, size // 2)
        self.score = nn.Linear(size // 2, heads, bias=False)

    def forward(self, fragments: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool.

        Args:
            fragments: (B, L, d).
            mask: (B, L) bool, at least one true a row.

        Returns:
            Pooled vectors (B, d), and alpha (B, L): the mean over heads, summing to 1.
        """
        scores = self.score(torch.tanh(self.hidden(fragments))).float()
        alpha = scores.masked_fill(~mask.unsqueeze(-1), -torch.inf).softmax(1).to(fragments.dtype)
        b, length, size = fragments.shape
        parts = fragments.view(b, length, self.heads, size // self.heads)
        pooled = torch.einsum("blkc,blk->bkc", parts, alpha).reshape(b, size)
        return pooled, alpha.mean(-1)


class GeneralizedPooling(nn.Module):
    """Weights over sorted fragments, generated from the positions by a BiGRU.

    Source: GPO (Chen et al., "Learning the Best Pooling Strategy for Visual Semantic Embedding",
    CVPR 2021, section 4).

    Args:
        position_size: width of the sinusoidal position code (32 in the paper).
        hidden_size: width of the GRU (32 in the paper).
    """

    def __init__(self, *, position_size: int = 32, hidden_size: int = 32) -> None:
        super().__init__()
        self.position_size = position_size
        self.gru = nn.GRU(position_size, hidden_size, batch_first=True, bidirectional=True)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def _positions(self, length: int, like: Tensor) -> Tensor:
        """(length, position_size) sinusoids (Vaswani et al., 2017)."""
        place = torch.arange(length, device=like.device, dtype=torch.float32).unsqueeze(1)
        steps = torch.arange(0, self.position_size, 2, device=like.device, dtype=torch.float32)
        rates = torch.exp(steps * -(math.log(10000.0) / self.position_size))
        return torch.stack(((place * rates).sin(), (place * rates).cos()), dim=2).flatten(1)

    def forward(self, fragments: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool; the same arguments and results as ``AttentivePooling``.

        The weight of a fragment is the mean weight of its ranks over the channels.
        """
        lengths = mask.sum(1)
        longest = int(lengths.max())
        codes = self._positions(longest, fragments).expand(len(fragments), -1, -1)
        packed = pack_padded_sequence(codes, lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        half = hidden.shape[-1] // 2
        scores = self.score((hidden[..., :half] + hidden[..., half:]) / 2).squeeze(-1).float()
        places = torch.arange(longest, device=mask.device) < lengths.unsqueeze(1)
        # The published code divides the scores by 0.1 before the softmax.
        weights = (scores / 0.1).masked_fill(~places, -torch.inf).softmax(1)
        hidden_fragments = fragments.masked_fill(~mask.unsqueeze(-1), -1e4)
        ordered, order = hidden_fragments.sort(dim=1, descending=True)
        ordered = ordered[:, :longest].masked_fill(~places.unsqueeze(-1), 0)
        pooled = torch.einsum("bld,bl->bd", ordered, weights.to(ordered.dtype))
        padded = F.pad(weights, (0, fragments.shape[1] - longest))
        spread = padded.unsqueeze(-1).expand(-1, -1, fragments.shape[2]).contiguous()
        alpha = torch.zeros_like(spread).scatter_(1, order, spread).mean(-1)
        return pooled, alpha
