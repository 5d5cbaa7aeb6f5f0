"""Domain discriminators behind a gradient reversal.

Source: Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015; what
is told apart, and the attentive weights, follow docs/method.md.

Letters: B batch, L fragments, d embedding width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, coefficient: float) -> Tensor:
        ctx.coefficient = coefficient
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return -ctx.coefficient * gradients[0], None


def reverse_gradient(value: Tensor, coefficient: float) -> Tensor:
    """The identity forward; backward the gradient times ``-coefficient``."""
    result: Tensor = _Reverse.apply(value, coefficient)
    return result


def reversal_coefficient(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: 0 at the start of training (p = 0), near 1 from the middle."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class Discriminator(nn.Module):
    """A two-layer classifier of the domain that a vector comes from.

    Args:
        size: d.
        hidden_size: width of the hidden layer.
        dropout: on the hidden layer.
    """

    def __init__(self, *, size: int, hidden_size: int = 256, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, hidden_size),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, 1),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., d) -> (...) logits of domain 1."""
        logits: Tensor = self.layers(vectors)
        return logits.squeeze(-1)


@dataclass(frozen=True)
class DomainLoss:
    """What a discriminator says of a batch.

    Attributes:
        loss: () float, the mean of both domains' cross entropies.
        accuracy: () float in [0, 1], the mean of both domains' accuracies: 0.5 is guessing,
            whatever the domains' sizes.
    """

    loss: Tensor
    accuracy: Tensor


def domain_loss(logits: Tensor, domain: Tensor, weights: Tensor) -> DomainLoss:
    """Class-balanced, weighted cross entropy of domain logits.

    Args:
        logits: any shape, of domain 1.
        domain: the same shape, 0 or 1.
        weights: the same shape, >= 0: attention of fragments, 0 for padding.

    Returns:
        Loss and accuracy; a domain without any weight takes no part.
    """
    cost = F.binary_cross_entropy_with_logits(
        logits.float(), domain.to(torch.float32), reduction="none"
    )
    right = ((logits > 0) == (domain > 0.5)).to(torch.float32)
    losses, accuracies = [], []
    for side in (0, 1):
        share = weights.float() * (domain == side)
        total = share.sum()
        if float(total) > 0:
            losses.append((cost * share).sum() / total)
            accuracies.append((right * share).sum() / total)
    if not losses:
        return DomainLoss(logits.sum() * 0, logits.new_zeros(()))
    return DomainLoss(torch.stack(losses).mean(), torch.stack(accuracies).mean())
