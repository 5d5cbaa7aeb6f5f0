"""Many rows, computed some at a time: what solves in closed form must not hold them all at once.

Letters: N rows, P and Q widths of two views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1024


@dataclass(frozen=True)
class View:
    """N rows of width P that are computed whenever they are looked at.

    Attributes:
        count: N.
        width: P.
        rows: a part of 0..N-1 -> (n, P), the same at every call.
    """

    count: int
    width: int
    rows: Callable[[slice], Tensor]

    @classmethod
    def of(cls, values: Tensor) -> View:
        """Of (N, P) rows that are there."""
        return cls(len(values), values.shape[1], lambda rows: values[rows])

    def blocks(self) -> Iterator[Tensor]:
        """All rows in order, (n, P) at a time."""
        for start in range(0, self.count, BLOCK):
            yield self.rows(slice(start, min(start + BLOCK, self.count)))

    def mean(self) -> Tensor:
        """(P,) float64."""
        total = torch.zeros(self.width, dtype=torch.float64)
        for block in self.blocks():
            total += block.sum(0, dtype=torch.float64)
        return total / self.count

    def gram(self) -> Tensor:
        """The products of all columns, (P, P) float64."""
        total = torch.zeros(self.width, self.width, dtype=torch.float64)
        for block in self.blocks():
            exact = block.double()
            total.addmm_(exact.T, exact)
        return total

    def along(self, axes: Tensor) -> View:
        """The components of all rows along axes, (P, Q)."""
        return View(self.count, axes.shape[1], lambda rows: self.rows(rows) @ axes)


@dataclass(frozen=True)
class CentredSparseView(View):
    """Rows of which nearly all is zero, less their mean. Its products pass over the zeros.

    Attributes:
        raw: a part of 0..N-1 -> (n, P) float64 with the zeros, before the mean is taken off.
        centre: (P,) float64.
    """

    raw: Callable[[slice], Tensor]
    centre: Tensor

    @classmethod
    def from_raw(cls, count: int, width: int, raw: Callable[[slice], Tensor]) -> CentredSparseView:
        centre = View(count, width, raw).mean()
        return cls(count, width, lambda rows: raw(rows) - centre, raw, centre)

    def gram(self) -> Tensor:
        """See ``View``."""
        total = torch.outer(self.centre, self.centre * -self.count)
        for block in View(self.count, self.width, self.raw).blocks():
            total.addmm_(block.T.to_sparse(), block)
        return total

    def along(self, axes: Tensor) -> View:
        """See ``View``."""
        centre = self.centre @ axes

        def rows(part: slice) -> Tensor:
            along: Tensor = torch.sparse.mm(self.raw(part).to_sparse(), axes)
            return along - centre

        return View(self.count, axes.shape[1], rows)


def covariances(first: View, second: View) -> tuple[Tensor, Tensor, Tensor]:
    """Of two centred views of the same N rows, in one pass.

    Returns:
        (P, P) of the first, (Q, Q) of the second and (P, Q) between them, float64.
    """
    own, other, between = (
        torch.zeros(rows, columns, dtype=torch.float64)
        for rows, columns in (
            (first.width, first.width),
            (second.width, second.width),
            (first.width, second.width),
        )
    )
    for one, two in zip(first.blocks(), second.blocks(), strict=True):
        own.addmm_(one.T, one)
        other.addmm_(two.T, two)
        between.addmm_(one.T, two)
    return own / first.count, other / first.count, between / first.count
