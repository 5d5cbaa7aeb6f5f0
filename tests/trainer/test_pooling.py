"""Pooling against loops over rows without any padding."""

from __future__ import annotations

import pytest
import torch

from trainer.pooling import AttentivePooling, GeneralizedPooling, masked_max, masked_mean

LENGTHS = (3, 1, 5)
SIZE = 8


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(length, SIZE, generator=generator) for length in LENGTHS]
    fragments = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    return rows, fragments, mask


def more_padding(fragments, mask, rubbish):
    """Two rows of padding more, and rubbish in all padding."""
    grown = torch.nn.functional.pad(fragments, (0, 0, 0, 2))
    mask = torch.nn.functional.pad(mask, (0, 2))
    return grown.masked_fill(~mask.unsqueeze(-1), rubbish), mask


@pytest.mark.parametrize("rubbish", [0.0, 50.0, -50.0])
def test_masked_mean_and_max(batch, rubbish):
    rows, fragments, mask = batch
    fragments, mask = more_padding(fragments, mask, rubbish)
    mean = torch.stack([sum(row) / len(row) for row in rows])
    torch.testing.assert_close(masked_mean(fragments, mask), mean)
    highest = torch.tensor([[max(column) for column in row.T.tolist()] for row in rows])
    torch.testing.assert_close(masked_max(fragments, mask), highest)


def naive_attention(pooling, row):
    scores = [pooling.score(torch.tanh(pooling.hidden(fragment))) for fragment in row]
    exponents = torch.stack(scores).exp()
    alpha = exponents / exponents.sum(0)  # (L, K)
    width = SIZE // pooling.heads
    parts = [
        sum(
            alpha[place, head] * row[place, head * width : (head + 1) * width]
            for place in range(len(row))
        )
        for head in range(pooling.heads)
    ]
    return torch.cat(parts), alpha.mean(1)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("rubbish", [0.0, 50.0])
def test_attentive_pooling_against_a_loop(batch, heads, rubbish):
    rows, fragments, mask = batch
    torch.manual_seed(1)
    pooling = AttentivePooling(size=SIZE, heads=heads)
    pooled, alpha = pooling(*more_padding(fragments, mask, rubbish))
    for number, row in enumerate(rows):
        expected, weights = naive_attention(pooling, row)
        torch.testing.assert_close(pooled[number], expected)
        torch.testing.assert_close(alpha[number, : len(row)], weights)


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_must_divide_the_width(heads):
    with pytest.raises(ValueError, match="does not divide"):
        AttentivePooling(size=SIZE, heads=heads)


def naive_generalised(pooling, row):
    """One row alone: no packing, no mask, channels sorted one by one."""
    hidden = pooling.gru(pooling._positions(len(row), row).unsqueeze(0))[0][0]
    forward, backward = hidden.chunk(2, dim=-1)
    weights = (pooling.score((forward + backward) / 2).squeeze(-1) / 0.1).softmax(0)
    pooled, share = [], torch.zeros(len(row))
    for channel in row.T:
        order = sorted(range(len(row)), key=lambda place: -float(channel[place]))
        pooled.append(sum(weights[rank] * channel[place] for rank, place in enumerate(order)))
        for rank, place in enumerate(order):
            share[place] += weights[rank].detach() / row.shape[1]
    return torch.stack(pooled), share


@pytest.mark.parametrize("rubbish", [0.0, 50.0])
def test_generalised_pooling_against_a_loop(batch, rubbish):
    rows, fragments, mask = batch
    torch.manual_seed(1)
    pooling = GeneralizedPooling(position_size=8, hidden_size=4)
    pooled, alpha = pooling(*more_padding(fragments, mask, rubbish))
    for number, row in enumerate(rows):
        expected, share = naive_generalised(pooling, row)
        torch.testing.assert_close(pooled[number], expected)
        torch.testing.assert_close(alpha[number, : len(row)].detach(), share)


def test_generalised_pooling_takes_gaps_in_the_mask(batch):
    # In training regions are left out in the middle of an image.
    rows, fragments, mask = batch
    pooling = GeneralizedPooling(position_size=8, hidden_size=4)
    mask[2, 1] = mask[2, 3] = False
    pooled, alpha = pooling(fragments, mask)
    torch.testing.assert_close(pooled[2], naive_generalised(pooling, rows[2][[0, 2, 4]])[0])
    assert alpha[2, [1, 3]].eq(0).all()


@pytest.mark.parametrize(
    "pooling", [AttentivePooling(size=SIZE, heads=2), GeneralizedPooling(hidden_size=4)]
)
def test_weights_sum_to_one_and_padding_has_none(batch, pooling):
    _, fragments, mask = batch
    fragments, mask = more_padding(fragments, mask, 3.0)
    alpha = pooling(fragments, mask)[1]
    torch.testing.assert_close(alpha.sum(1), torch.ones(len(LENGTHS)))
    assert alpha[~mask].eq(0).all()
    assert alpha[mask].gt(0).all()
