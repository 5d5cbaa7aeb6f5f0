from __future__ import annotations

import pytest
import torch

from trainer.evidence import OBJECT_COLUMNS, ImageEvidence

PLAIN = {"hubness__weight": 0}


def make_evidence(images=4, objects=3, concepts=5):
    return ImageEvidence(torch.rand(images, concepts), torch.rand(images, OBJECT_COLUMNS * objects))


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


def test_the_similarity_is_the_weighted_sum_of_the_towers(build, make_regions, sentences):
    model = build("a3vse", **PLAIN, fusion__network=1, fusion__linear=2, fusion__concepts=5)
    regions, evidence = make_regions(3, 1, 4, 2), make_evidence()
    with torch.no_grad():
        images, texts = model.embed_images(regions, evidence), model.embed_texts(sentences)
        expected = (
            model.encode_images(regions).pooled @ model.encode_texts(sentences).pooled.T
            + 2
            * model.linear.embed_images(regions, evidence.objects)
            @ model.linear.embed_texts(sentences).T
            + 5
            * model.concepts.embed_images(evidence.concepts)
            @ model.concepts.embed_texts(sentences).T
        ) / 8
    torch.testing.assert_close(images @ texts.T, expected)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(4))


def test_a_tower_without_a_share_is_left_out(build, make_regions, sentences):
    model = build("a3vse", **PLAIN, fusion__linear=0, fusion__concepts=0)
    assert (model.linear, model.concepts) == (None, None)
    assert model.cross_attention is not None
    assert build("a3vse", fusion__network=0).cross_attention is None
    regions = make_regions(3, 1, 4, 2)
    with torch.no_grad():
        found = model.embed_images(regions, make_evidence()) @ model.embed_texts(sentences).T
        network = model.encode_images(regions).pooled @ model.encode_texts(sentences).pooled.T
    torch.testing.assert_close(found, network)


def test_the_linear_tower_sees_the_bag_of_objects(build, make_regions):
    regions, evidence = make_regions(3, 1, 4, 2), make_evidence()
    other = ImageEvidence(evidence.concepts, evidence.objects.flip(0))
    shares = {"fusion__network": 0, "fusion__concepts": 0}
    for weight, seen in ((0.0, False), (1.0, True)):
        model = build("a3vse", **shares, fusion__objects=weight)
        assert model.reads_evidence == seen
        with torch.no_grad():
            found = [model.join_images(regions, each) for each in (evidence, other)]
        assert torch.equal(*found) != seen


@pytest.mark.parametrize(
    "shares",
    [{}, {"fusion__linear": 0}, {"fusion__concepts": 0}, {"fusion__network": 0}],
)
def test_what_is_searched_is_what_is_joined_corrected_for_hubness(
    build, make_regions, sentences, shares
):
    model = build("a3vse", **shares, hubness__weight=0.5)
    regions, evidence = make_regions(3, 1, 4, 2), make_evidence()
    with torch.no_grad():
        images, texts = model.join_images(regions, evidence), model.join_texts(sentences)
        model.hubness.fit(images, texts)
        found = model.embed_images(regions, evidence) @ model.embed_texts(sentences).T
    cosines = images @ texts.T
    expected = cosines - 0.5 * cosines.mean(1, keepdim=True) - 0.5 * cosines.mean(0)
    torch.testing.assert_close(found, expected / 2)
    assert build("a3vse", **shares, **PLAIN).hubness is None
