from __future__ import annotations

import pytest
import torch

from trainer.encoders import RegionEncoder, TextEncoder
from trainer.inputs import geometry
from trainer.text import pad

SIZE = 8


@pytest.mark.parametrize("settings", [{}, {"hidden_size": 5}, {"attention_layers": 1}])
def test_padding_changes_no_fragment(make_regions, settings):
    torch.manual_seed(0)
    encoder = RegionEncoder(
        feature_size=6, embed_size=SIZE, **{"hidden_size": 0, **settings}
    ).eval()
    short, long = make_regions(3, 2), make_regions(3, 2, padding=2)
    found = encoder(long)[:, :3]
    torch.testing.assert_close(found[short.mask], encoder(short)[short.mask])


def test_regions_are_a_linear_map_of_features_and_boxes(make_regions):
    regions = make_regions(2)
    encoder = RegionEncoder(feature_size=6, embed_size=SIZE, hidden_size=0)
    expected = encoder.linear(regions.features) + encoder.geometry(geometry(regions.boxes))
    torch.testing.assert_close(encoder(regions), expected)
    blind = RegionEncoder(feature_size=6, embed_size=SIZE, hidden_size=0, use_geometry=False)
    torch.testing.assert_close(blind(regions), blind.linear(regions.features))


def test_attention_lets_regions_see_one_another(make_regions):
    regions = make_regions(3)
    encoder = RegionEncoder(
        feature_size=6, embed_size=SIZE, hidden_size=0, attention_layers=1
    ).eval()
    before = encoder(regions)[0, 0]
    regions.features[0, 2] += 1
    assert not torch.allclose(encoder(regions)[0, 0], before)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_words_against_each_sentence_alone(sentences, grow_tokens, bidirectional):
    torch.manual_seed(0)
    encoder = TextEncoder(
        vocabulary_size=10, word_size=5, embed_size=SIZE, bidirectional=bidirectional
    )
    together = encoder(grow_tokens(sentences, 2))
    assert together.shape == (4, 6, SIZE)
    for row, length in enumerate(sentences.lengths.tolist()):
        ids = sentences.ids[row : row + 1, :length]
        hidden = encoder.gru(encoder.words(ids))[0]
        if bidirectional:
            hidden = sum(hidden.chunk(2, dim=-1)) / 2
        torch.testing.assert_close(together[row, :length], hidden[0])
        assert together[row, length:].eq(0).all()


def test_the_padding_row_learns_nothing():
    encoder = TextEncoder(vocabulary_size=5, word_size=5, embed_size=SIZE)
    encoder(pad([[2, 3], [4]])).sum().backward()
    assert encoder.words.weight.grad[0].eq(0).all()
    assert encoder.words.weight.grad[2:].ne(0).any(1).all()
