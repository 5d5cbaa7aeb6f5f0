"""Directions in which two views of the same things agree: regularised canonical correlation.

Source: Hotelling, "Relations between two sets of variates", 1936.

Letters: N pairs, P and Q widths of the two views, k canonical directions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.models.eigen import largest_eigenvectors
from trainer.models.view import View, covariances


def canonical_directions(
    first: View, second: View, *, size: int, ridge: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Directions of largest correlation between two views.

    Args:
        first: (N, P) float64, centred.
        second: (N, Q) float64, centred.
        size: k, at most min(P, Q).
        ridge: added to both covariances, as a share of their mean variance.

    Returns:
        (P, k) and (Q, k) directions, and the k correlations, falling.
    """
    own, other, between = covariances(first, second)
    whiten_first, whiten_second = _inverse_root(own, ridge), _inverse_root(other, ridge)
    cross = whiten_first @ between @ whiten_second
    left, correlations, right = torch.linalg.svd(cross, full_matrices=False)
    return (
        whiten_first @ left[:, :size],
        whiten_second @ right[:size].T,
        correlations[:size].clamp(0, 1),
    )


def _inverse_root(covariance: Tensor, ridge: float) -> Tensor:
    """(covariance + ridge)^(-1/2), symmetric."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0) + ridge * covariance.diagonal().mean()
    root: Tensor = (vectors * values.rsqrt()) @ vectors.T
    return root


def principal_axes(centred: View, *, size: int) -> Tensor:
    """(N, P) float64 -> (P, min(size, N, P)) orthonormal axes of largest variance.

    The smaller of the two Gram matrices is decomposed: with few captions that is N by N, and then
    all rows are held at once.
    """
    size = min(size, centred.count, centred.width)
    if centred.count >= centred.width:
        return largest_eigenvectors(centred.gram(), size)
    rows = torch.cat(list(centred.blocks()))
    return F.normalize(rows.T @ largest_eigenvectors(rows @ rows.T, size), dim=0)
