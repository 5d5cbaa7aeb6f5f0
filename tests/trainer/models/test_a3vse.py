from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("settings", [{}, {"hidden_size": 5}, {"attention_layers": 1}])
def test_contract(build, check_contract, settings):
    check_contract(build("a3vse", **settings), build("a3vse", seed=1, **settings))


def test_dropout_is_for_training_only(build, make_regions, sentences):
    model = build("a3vse", regions__dropout=0.5, text__dropout=0.5)
    regions = make_regions(3, 2)
    assert torch.equal(model.encode_images(regions).pooled, model.encode_images(regions).pooled)
    model.train()
    assert not torch.equal(model.encode_images(regions).pooled, model.encode_images(regions).pooled)
    assert not torch.equal(
        model.encode_texts(sentences).pooled, model.encode_texts(sentences).pooled
    )


def test_every_parameter_learns(build, make_regions, sentences):
    model = build("a3vse", hidden_size=5)
    images, texts = model.encode_images(make_regions(3, 1, 4, 2)), model.encode_texts(sentences)
    (images.pooled * texts.pooled)[:, :3].sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
