from __future__ import annotations

import torch

from trainer.encoders import Encoded
from trainer.fragments import Fragments, FragmentTable


def encoded(*counts, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(length) < torch.tensor(counts).unsqueeze(1)
    values = torch.randn(len(counts), length, 4, generator=generator)
    weights = torch.rand(len(counts), length, generator=generator)
    return Encoded.of(values[:, 0], values, weights, mask)


def test_fragments_have_length_one_and_padding_is_nothing():
    given = encoded(3, 1, length=5)
    found = Fragments.of(given)
    lengths = found.values.norm(dim=-1)
    torch.testing.assert_close(lengths, given.mask.float())
    assert found.ends.tolist() == [3, 1]
    # They point where they pointed.
    products = (found.values * given.fragments).sum(-1)[given.mask]
    torch.testing.assert_close(products, given.fragments.norm(dim=-1)[given.mask])


def test_the_end_is_after_the_last_fragment_though_one_before_is_missing():
    given = encoded(4, 2, length=4)
    given.mask[0, 1] = False
    assert Fragments.of(given).ends.tolist() == [4, 2]


def test_a_table_gives_back_what_was_packed_in_any_order():
    first, second = (
        Fragments.of(encoded(3, 1, length=5, seed=0)),
        Fragments.of(encoded(2, 4, length=4, seed=1)),
    )
    table = FragmentTable.of([first, second], torch.tensor([2, 0, 3, 1]))
    assert len(table) == 4
    assert table.counts.tolist() == [1, 4, 3, 2]
    assert len(table.values) == 10
    found = table.padded(torch.tensor([2, 1, 2]))
    assert found.mask.sum(1).tolist() == [3, 4, 3]
    for row, (batch, place) in enumerate(((first, 0), (second, 1), (first, 0))):
        mask, own = found.mask[row], batch.mask[place]
        assert torch.equal(found.values[row][mask], batch.values[place][own])
        assert found.values[row][~mask].eq(0).all()
    assert table.padded(torch.tensor([0])).mask.shape == (1, 1)
