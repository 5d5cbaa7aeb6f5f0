from __future__ import annotations

import pytest
import torch

from trainer.fragments import Fragments


def test_contract(build, check_contract):
    check_contract(build("scan"), build("scan", seed=1))


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
@pytest.mark.parametrize("aggregation", ["avg", "lse"])
def test_the_configured_attention_compares(build, make_regions, sentences, direction, aggregation):
    model = build("scan", scan__direction=direction, scan__aggregation=aggregation)
    assert (model.cross_attention.direction, model.cross_attention.aggregation) == (
        direction,
        aggregation,
    )
    images, texts = model.encode_images(make_regions(3, 1, 2)), model.encode_texts(sentences)
    with torch.no_grad():
        found = model.similarity(images, texts)
        for row in range(3):
            for column in range(4):
                regions, words = images.mask[row], texts.mask[column]
                one, other = (
                    Fragments(
                        torch.nn.functional.normalize(side.fragments[place][mask], dim=-1)[None],
                        torch.ones(1, int(mask.sum())).bool(),
                    )
                    for side, place, mask in ((images, row, regions), (texts, column, words))
                )
                expected = model.cross_attention.paired(one, other)
                torch.testing.assert_close(found[row, column], expected[0])


def test_padding_does_not_count(build, make_regions, sentences, grow_tokens):
    model = build("scan")
    with torch.no_grad():
        texts = model.encode_texts(sentences)
        one = model.similarity(model.encode_images(make_regions(3, 1, 4)), texts)
        padded = model.encode_images(make_regions(3, 1, 4, padding=3, rubbish=7.0))
        other = model.similarity(padded, model.encode_texts(grow_tokens(sentences, 3)))
    torch.testing.assert_close(one, other)


def test_every_parameter_learns(build, make_regions, sentences):
    model = build("scan")
    images, texts = model.encode_images(make_regions(3, 1, 4, 2)), model.encode_texts(sentences)
    model.similarity(images, texts)[:, :3].square().sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_boxes_play_no_part(build, make_regions, sentences):
    model, regions = build("scan"), make_regions(3, 2)
    with torch.no_grad():
        texts = model.encode_texts(sentences)
        one = model.similarity(model.encode_images(regions), texts)
        regions.boxes.zero_()
        assert torch.equal(model.similarity(model.encode_images(regions), texts), one)
