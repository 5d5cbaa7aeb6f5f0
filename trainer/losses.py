"""Ranking losses over a batch of pairs.

Letters: B images, C texts, d embedding width. Similarities are cosines unless said otherwise.
Positives are an explicit matrix, never a diagonal: two captions of one image may be in one batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def hinge_ranking(
    similarity: Tensor, positive: Tensor, *, margin: float = 0.2, hardest: bool = True
) -> Tensor:
    """Bidirectional hinge loss, on the hardest negative or summed over all.

    Source: VSE++ (Faghri et al., BMVC 2018), equations 4 to 6.

    Args:
        similarity: (B, C) float, cosines.
        positive: (B, C) bool; at least one true in every row and column. Each positive pair is
            held against the negatives of its row and of its column.
        margin: in units of cosine.
        hardest: the maximum over negatives (VSE++); else their sum (VSE0, its warm-up).

    Returns:
        () float: the sum over positive pairs of both directions' costs, as in the published code:
        its gradients are large, so that clipping gives every step the same length, that of the
        warm-up like that of the hardest negatives.

    Example:
        >>> positive = image_of_row[:, None] == image_of_caption[None, :]
        >>> loss = hinge_ranking(images @ texts.T, positive)
    """
    rows, columns = positive.nonzero(as_tuple=True)
    score = similarity[rows, columns].unsqueeze(1)
    of_text = (margin + similarity[rows] - score).clamp_min(0).masked_fill(positive[rows], 0)
    of_image = (margin + similarity.T[columns] - score).clamp_min(0)
    of_image = of_image.masked_fill(positive.T[columns], 0)
    if hardest:
        return (of_text.amax(1) + of_image.amax(1)).sum()
    return (of_text.sum(1) + of_image.sum(1)).sum()


def info_nce(similarity: Tensor, target: Tensor, *, temperature: float | Tensor) -> Tensor:
    """Symmetric InfoNCE with any number of weighted positives.

    Source: van den Oord et al., 2018; the weighted targets are ours.

    Args:
        similarity: (B, C) float, cosines.
        target: (B, C) float >= 0: how much of a positive a pair is. Rows and columns are
            normalised to sum 1 inside. An all-zero row has no positive and is not averaged over,
            but its image stays a negative of every text; so does the text of an all-zero column.
        temperature: divides the cosines.

    Returns:
        () float: the mean of both directions' cross entropies.

    Example:
        >>> target = (image_of_row[:, None] == image_of_caption[None, :]).float()
        >>> loss = info_nce(images @ texts.T, target, temperature=0.07)
    """
    logits = similarity.float() / temperature
    return (_cross_entropy(logits, target) + _cross_entropy(logits.T, target.T)) / 2


def distillation(
    similarity: Tensor,
    teacher: Tensor,
    *,
    temperature: float | Tensor,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """Symmetric cross entropy to a teacher's distribution over the batch.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, on the in-batch
    distributions of InfoNCE.

    Args:
        similarity: (B, C) float, the student's cosines.
        teacher: (B, C) float, the teacher's cosines; no gradient reaches it.
        temperature: divides the student's cosines.
        teacher_temperature: divides the teacher's.

    Returns:
        () float: the mean over both directions.
    """
    logits = similarity.float() / temperature
    wanted = teacher.detach().float() / teacher_temperature
    rows = -(wanted.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    columns = -(wanted.softmax(0) * logits.log_softmax(0)).sum(0).mean()
    return (rows + columns) / 2


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    total = target.sum(1)
    used = total > 0
    weights = target[used] / total[used].unsqueeze(1)
    if not len(weights):
        return logits.sum() * 0
    return -(weights * logits[used].log_softmax(1)).sum(1).mean()


def concept_overlap(first: Tensor, second: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Weighted Jaccard overlap of concept sets.

    Args:
        first: (B, V) float, 1 where image has concept, else 0.
        second: (C, V) float.
        weights: (V,) float >= 0, the importance of each concept; None counts each as 1.

    Returns:
        (B, C) float in [0, 1]; two empty sets overlap by 0.
    """
    weighted = first if weights is None else first * weights
    other = second if weights is None else second * weights
    common = weighted @ second.T
    union = weighted.sum(1).unsqueeze(1) + other.sum(1).unsqueeze(0) - common
    return torch.where(union > 0, common / union.clamp_min(1e-12), torch.zeros_like(common))
