"""Regions and words as they are compared one by one: padded batches, and tables without padding.

Letters: B batch, L fragments of the longest, M fragments in all, N items, d width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.encoders import Encoded


@dataclass(frozen=True)
class Fragments:
    """Fragments of a batch of images or of texts.

    Attributes:
        values: (B, L, d) float32, each of length 1; 0 where there is none.
        mask: (B, L) bool, at least one true a row.
    """

    values: Tensor
    mask: Tensor

    @classmethod
    def of(cls, encoded: Encoded) -> Fragments:
        """What an encoder gave, brought to length 1."""
        mask = encoded.mask.unsqueeze(-1)
        values = F.normalize(encoded.fragments.float(), dim=-1).masked_fill(~mask, 0)
        return cls(values, encoded.mask)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ends(self) -> Tensor:
        """(B,) int64, the place after each row's last fragment."""
        places = torch.arange(1, self.mask.shape[1] + 1, device=self.mask.device)
        return (self.mask * places).amax(1)

    def take(self, rows: Tensor, *, length: int) -> Fragments:
        """Some rows, (n,) int64, cut to a length that holds all their fragments."""
        return Fragments(self.values[rows, :length], self.mask[rows, :length])


@dataclass(frozen=True)
class FragmentTable:
    """Fragments of many items in a row, so that memory is that of the fragments alone.

    Attributes:
        values: (M, d) float32, each of length 1.
        starts: (N,) int64, the first fragment of each item.
        counts: (N,) int64, how many it has.
    """

    values: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, batches: Iterable[Fragments], order: Tensor) -> FragmentTable:
        """Pack batches.

        Args:
            batches: one or more, of N items in all.
            order: (N,) int64: the k-th item of the batches is item ``order[k]`` of the table.
        """
        parts = [(b.values[b.mask], b.mask.sum(1)) for b in batches]
        values, counts = (torch.cat(part) for part in zip(*parts, strict=True))
        starts = counts.cumsum(0) - counts
        inverse = torch.argsort(order.to(counts.device))
        return cls(values, starts[inverse], counts[inverse])

    def __len__(self) -> int:
        return len(self.counts)

    def padded(self, items: Tensor) -> Fragments:
        """The fragments of some items, (n,) int64, padded to the longest of them."""
        counts = self.counts[items]
        places = torch.arange(int(counts.max()), device=counts.device)
        mask = places < counts.unsqueeze(1)
        rows = (self.starts[items].unsqueeze(1) + places) * mask
        return Fragments(self.values[rows] * mask.unsqueeze(-1), mask)
