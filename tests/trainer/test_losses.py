"""Losses against loops in plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.losses import concept_overlap, hinge_ranking, info_nce

# Captions 0 and 1 are of one image, so are 3 and 4; rows are pairs, as batches have them.
IMAGE = [0, 0, 1, 2, 2]


@pytest.fixture
def similarity():
    return torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1


def naive_hinge(similarity, positive, margin, hardest):
    rows, columns = len(similarity), len(similarity[0])
    costs = []
    for i in range(rows):
        for j in range(columns):
            if not positive[i][j]:
                continue
            along_row = [
                max(0, margin + similarity[i][k] - similarity[i][j])
                for k in range(columns)
                if not positive[i][k]
            ]
            along_column = [
                max(0, margin + similarity[k][j] - similarity[i][j])
                for k in range(rows)
                if not positive[k][j]
            ]
            take = (lambda values: max(values, default=0)) if hardest else sum
            costs.append(take(along_row) + take(along_column))
    return sum(costs)


@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.2, 1.5])
def test_hinge_with_several_positives(similarity, hardest, margin):
    positive = torch.tensor([[a == b for b in IMAGE] for a in IMAGE])
    loss = hinge_ranking(similarity, positive, margin=margin, hardest=hardest)
    expected = naive_hinge(similarity.tolist(), positive.tolist(), margin, hardest)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("hardest", [True, False])
def test_hinge_of_unequal_sides(similarity, hardest):
    positive = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]).bool()
    loss = hinge_ranking(similarity[:2], positive, hardest=hardest)
    expected = naive_hinge(similarity[:2].tolist(), positive.tolist(), 0.2, hardest)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("hardest", [True, False])
def test_hinge_without_any_negative_is_zero(similarity, hardest):
    assert hinge_ranking(similarity, torch.ones(5, 5).bool(), hardest=hardest) == 0


def test_hinge_never_pushes_a_positive_away(similarity):
    similarity.requires_grad_()
    positive = torch.tensor([[a == b for b in IMAGE] for a in IMAGE])
    hinge_ranking(similarity, positive, margin=1.5, hardest=False).backward()
    assert similarity.grad[positive].lt(0).all()
    assert similarity.grad[~positive].gt(0).all()


def naive_info_nce(similarity, target, temperature):
    def one_way(similarity, target):
        costs = []
        for row, wanted in zip(similarity, target, strict=True):
            if sum(wanted) == 0:
                continue
            exponents = [math.exp(value / temperature) for value in row]
            costs.append(
                -sum(
                    weight / sum(wanted) * math.log(exponent / sum(exponents))
                    for weight, exponent in zip(wanted, exponents, strict=True)
                )
            )
        return sum(costs) / len(costs) if costs else 0

    transposed = [list(column) for column in zip(*similarity, strict=True)]
    return (
        one_way(similarity, target)
        + one_way(transposed, [list(column) for column in zip(*target, strict=True)])
    ) / 2


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_info_nce_with_weighted_targets(similarity, temperature):
    target = torch.rand(5, 5, generator=torch.Generator().manual_seed(1))
    target[1], target[:, 3] = 0, 0  # no positives: not averaged over, and negatives of the others
    loss = info_nce(similarity, target, temperature=temperature)
    expected = naive_info_nce(similarity.tolist(), target.tolist(), temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_info_nce_of_a_diagonal_is_cross_entropy(similarity):
    loss = info_nce(similarity, torch.eye(5), temperature=0.5)
    rows = torch.arange(5)
    cross = torch.nn.functional.cross_entropy
    expected = (cross(similarity / 0.5, rows) + cross(similarity.T / 0.5, rows)) / 2
    torch.testing.assert_close(loss, expected)


def test_info_nce_scales_of_targets_do_not_matter(similarity):
    target = torch.eye(5) + torch.eye(5).roll(1, 0)
    first, second = (info_nce(similarity, t, temperature=0.1) for t in (target, 3 * target))
    torch.testing.assert_close(first, second)


def test_info_nce_without_any_positive_is_zero_and_trains_nothing(similarity):
    similarity.requires_grad_()
    loss = info_nce(similarity, torch.zeros(5, 5), temperature=0.1)
    loss.backward()
    assert loss == 0
    assert similarity.grad.eq(0).all()


SETS = [{0, 1}, {1, 2, 3}, set(), {0, 1}]


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.0]])
def test_concept_overlap(weights):
    rows = torch.tensor([[float(c in concepts) for c in range(4)] for concepts in SETS])
    overlap = concept_overlap(
        rows, rows[:3], weights=None if weights is None else torch.tensor(weights)
    )
    importance = weights or [1.0] * 4
    for i, first in enumerate(SETS):
        for j, second in enumerate(SETS[:3]):
            union = sum(importance[c] for c in first | second)
            expected = sum(importance[c] for c in first & second) / union if union else 0
            assert float(overlap[i, j]) == pytest.approx(expected)
    assert overlap[0, 0] == overlap[3, 0] == 1
