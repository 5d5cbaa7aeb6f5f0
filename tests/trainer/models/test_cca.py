"""The closed-form baseline."""

from __future__ import annotations

import torch


def test_contract(build, check_contract):
    check_contract(build("cca"), build("cca", seed=1))


def test_it_is_the_linear_tower_by_itself_and_sees_no_objects(build, make_regions, sentences):
    model = build("cca", hubness__weight=0, fusion__objects=1)
    assert not model.reads_evidence
    assert model.linear.objects_size == 0
    regions = make_regions(3, 1, 4, 2)
    images, texts = model.embed_images(regions, None), model.embed_texts(sentences)
    torch.testing.assert_close(images, model.linear.embed_images(regions, None))
    torch.testing.assert_close(texts, model.linear.embed_texts(sentences))
