from __future__ import annotations

import math

import pytest
import torch

from trainer.adversarial import (
    Discriminator,
    domain_loss,
    reversal_coefficient,
    reverse_gradient,
)


def test_the_gradient_is_reversed_and_scaled():
    value = torch.tensor([1.0, -2.0], requires_grad=True)
    result = reverse_gradient(value, 0.5)
    assert torch.equal(result, value)
    (result * torch.tensor([3.0, 4.0])).sum().backward()
    assert value.grad.tolist() == [-1.5, -2.0]


def test_the_reversal_grows_from_zero_towards_one():
    values = [reversal_coefficient(progress / 10) for progress in range(11)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[5] == pytest.approx(2 / (1 + math.exp(-5)) - 1)
    assert 0.99 < values[-1] < 1


def test_a_step_trains_the_discriminator_and_confuses_the_encoder():
    torch.manual_seed(0)
    discriminator = Discriminator(size=2, hidden_size=4, dropout=0.0)
    domain = torch.tensor([0.0, 0.0, 1.0, 1.0])
    vectors = torch.randn(4, 2, requires_grad=True)

    def loss(vectors):
        return domain_loss(discriminator(vectors), domain, torch.ones(4)).loss

    before = loss(reverse_gradient(vectors, 1.0))
    before.backward()
    assert loss(vectors.detach() - 0.1 * vectors.grad) > before
    with torch.no_grad():
        for weight in discriminator.parameters():
            weight -= 0.1 * weight.grad
    assert loss(vectors.detach()) < before


def naive_domain_loss(logits, domain, weights):
    """Mean over domains of the weighted mean cost and of the weighted accuracy."""
    losses, accuracies = [], []
    for side in (0, 1):
        members = [i for i, d in enumerate(domain) if d == side and weights[i]]
        if not members:
            continue
        total = sum(weights[i] for i in members)
        sign = 1 if side else -1
        losses.append(
            sum(weights[i] * math.log(1 + math.exp(-sign * logits[i])) for i in members) / total
        )
        right = [i for i in members if (logits[i] > 0) == bool(side)]
        accuracies.append(sum(weights[i] for i in right) / total)
    return sum(losses) / len(losses), sum(accuracies) / len(accuracies)


@pytest.mark.parametrize(
    "weights", [[1, 1, 1, 1, 1, 1], [0.2, 0, 3, 1, 0.5, 0], [1, 1, 1, 1, 0, 0]]
)
def test_domain_loss_against_a_loop(weights):
    logits, domain = [0.3, -1.0, 2.0, -0.2, 0.7, -3.0], [0, 0, 0, 0, 1, 1]
    found = domain_loss(*(torch.tensor(v, dtype=torch.float) for v in (logits, domain, weights)))
    loss, accuracy = naive_domain_loss(logits, domain, weights)
    assert float(found.loss) == pytest.approx(loss, rel=1e-5)
    assert float(found.accuracy) == pytest.approx(accuracy)


def test_domains_count_alike_whatever_their_sizes():
    domain = torch.tensor([0.0] + [1.0] * 99)
    always_one = domain_loss(torch.ones(100), domain, torch.ones(100))
    assert float(always_one.accuracy) == pytest.approx(0.5)
    expected = (math.log(1 + math.e) + math.log(1 + math.exp(-1))) / 2
    assert float(always_one.loss) == pytest.approx(expected, rel=1e-5)


def test_fragments_of_weight_zero_take_no_part():
    logits = torch.randn(2, 3, requires_grad=True)
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    domain = torch.tensor([[0.0], [1.0]]).expand(2, 3)
    domain_loss(logits, domain, weights).loss.backward()
    assert torch.equal(logits.grad != 0, weights > 0)


def test_without_any_weight_there_is_no_loss():
    found = domain_loss(torch.randn(3, requires_grad=True), torch.zeros(3), torch.zeros(3))
    found.loss.backward()
    assert found.loss == 0
