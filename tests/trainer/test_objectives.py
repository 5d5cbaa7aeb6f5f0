from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trainer.build import Sizes, build_model, build_objective
from trainer.data import BatchDataset
from trainer.fragments import Fragments
from trainer.losses import hinge_ranking, info_nce
from trainer.objectives import Progress

ALONE = {"w_gold": 0, "w_weak": 0, "w_pseudo": 0, "w_adv": 0}
HALFWAY = Progress(epoch=1, fraction=0.5)


@pytest.fixture
def prepare(world, tiny):
    """Model, objective and one batch of a configuration."""

    def make(model="a3vse", **settings):
        config = tiny(model, **settings)
        data = world.data()
        torch.manual_seed(0)
        built = build_model(config, Sizes.of(data))
        objective = build_objective(
            config, concept_weights=torch.from_numpy(data.semantics.weights)
        )
        batches = BatchDataset(
            data,
            seed=0,
            epoch=0,
            batch_size=config.batch_size,
            unannotated_size=round(config.batch_size * objective.unannotated_per_gold),
            max_regions=config.max_regions,
            word_drop=0.0,
            word_removal=0.0,
            concept_drop=0.0,
        )
        return built.eval(), objective.eval(), batches[0]

    return make


@pytest.mark.parametrize(
    ("weights", "terms", "unannotated"),
    [
        ({"w_gold": 1}, {"gold"}, False),
        ({"w_weak": 1}, {"weak"}, True),
        ({"w_adv": 1}, {"adversarial_visual", "adversarial_textual"}, True),
        ({"w_gold": 1, "w_weak": 1}, {"gold", "weak"}, True),
    ],
)
def test_a_weight_of_zero_leaves_out_the_term_and_its_work(prepare, weights, terms, unannotated):
    model, objective, batch = prepare(**{**ALONE, **weights})
    losses = objective(model, batch, HALFWAY)
    assert set(losses.terms) == terms
    torch.testing.assert_close(losses.total, sum(losses.terms.values()))
    assert (len(batch.image) > batch.annotated) == unannotated
    assert bool(list(objective.parameters())) == ("w_adv" in weights)
    assert set(losses.info) == (
        {"accuracy/visual", "accuracy/textual"} if objective.adversarial else set()
    )


def test_the_gold_term_is_info_nce_with_all_captions_of_an_image_as_positives(prepare):
    model, objective, batch = prepare(**{**ALONE, "w_gold": 2}, batch_size=10, temperature=0.3)
    b = batch.annotated
    rows = batch.image[:b].tolist()
    assert len(set(rows)) < b  # an image twice, with two captions
    similarity = (
        model.encode_images(batch.regions).pooled[:b] @ model.encode_texts(batch.captions).pooled.T
    )
    same = torch.tensor([[float(one == other) for other in rows] for one in rows])
    expected = 2 * info_nce(similarity, same, temperature=0.3)
    torch.testing.assert_close(objective(model, batch, HALFWAY).total, expected)


@pytest.mark.parametrize("name", ["a3vse", "vsepp", "vse-infty", "scan"])
def test_losses_are_in_full_precision_whatever_the_encoders_ran_in(prepare, name):
    model, objective, batch = prepare(name, **({"w_pseudo": 0} if name == "a3vse" else {}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = model.encode_images(batch.regions)
        losses = objective(model, batch, HALFWAY)
    assert images.pooled.dtype == torch.float32
    torch.testing.assert_close(images.pooled.norm(dim=1), torch.ones(len(batch.image)))
    exact = objective(model, batch, HALFWAY)
    for term, value in losses.terms.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact.terms[term], rtol=0.05, atol=0.02)


def test_a_weight_scales_its_term(prepare):
    terms = []
    for weight in (1, 3):
        model, objective, batch = prepare(w_gold=weight, w_weak=weight, w_pseudo=0)
        terms.append(objective(model, batch, HALFWAY).terms)
    for name in ("gold", "weak"):
        torch.testing.assert_close(terms[1][name], 3 * terms[0][name])


def test_an_image_without_concepts_is_pulled_nowhere(prepare):
    model, objective, batch = prepare(**{**ALONE, "w_weak": 1})
    batch.concepts[0] = 0
    with torch.no_grad():
        before = objective(model, batch, HALFWAY).total
    # Taking the image away changes the negatives of others only: its own row has no target.
    target = objective._target(batch)
    assert target[0].eq(0).all()
    assert target[:, 0].eq(0).all()
    assert torch.isfinite(before)


def test_the_adversary_reaches_the_encoders_reversed_and_at_the_start_not_at_all(prepare):
    model, objective, batch = prepare(**{**ALONE, "w_adv": 1})

    def gradient(fraction):
        model.zero_grad()
        objective.zero_grad()
        objective(model, batch, Progress(0, fraction)).total.backward()
        return model.regions.linear.weight.grad.clone(), [
            weight.grad.clone() for weight in objective.parameters()
        ]

    at_start, heads_at_start = gradient(0.0)
    later, heads_later = gradient(0.5)
    assert at_start.eq(0).all()
    assert later.ne(0).any()
    # The discriminators learn alike at all times.
    for one, other in zip(heads_at_start, heads_later, strict=True):
        torch.testing.assert_close(one, other)
        assert one.ne(0).any()
    # One step of the encoder along its gradient makes the domains harder to tell apart.
    with torch.no_grad():
        loss = objective(model, batch, HALFWAY).total
        model.regions.linear.weight -= 0.05 * later
        assert objective(model, batch, HALFWAY).total > loss


@pytest.mark.parametrize("model", ["vsepp", "vse-infty", "scan"])
def test_baselines_go_from_all_negatives_to_the_hardest(prepare, model):
    built, objective, batch = prepare(model, margin=0.5, warmup_epochs=2, negatives="hardest")
    assert len(batch.image) == batch.annotated
    assert not list(objective.parameters())
    images, texts = built.encode_images(batch.regions), built.encode_texts(batch.captions)
    similarity = images.pooled @ texts.pooled.T
    if model == "scan":
        similarity = built.cross_attention.scores(Fragments.of(images), Fragments.of(texts))
    positive = batch.image.unsqueeze(1) == batch.image
    for epoch, hardest in ((0, False), (1, False), (2, True)):
        found = objective(built, batch, Progress(epoch, 0.5)).terms
        expected = hinge_ranking(similarity, positive, margin=0.5, hardest=hardest)
        torch.testing.assert_close(found["gold"], expected)


@pytest.mark.parametrize("settings", [{"model": "vsepp"}, {"model": "scan", "negatives": "all"}])
def test_all_negatives_stay_all_negatives(prepare, settings):
    """By default, too, in the model whose best setting they are."""
    built, objective, batch = prepare(**settings)
    losses = [objective(built, batch, Progress(epoch, 0.5)).total for epoch in (0, 1, 1000)]
    assert losses[0] == losses[1] == losses[2]
    hardest = prepare(**{**settings, "negatives": "hardest"})[1]
    assert hardest(built, batch, Progress(1, 0.5)).total < losses[0]


def test_padding_of_either_sentence_batch_does_not_count(prepare, grow_tokens):
    model, objective, batch = prepare(w_pseudo=0)
    grown = replace(
        batch,
        captions=grow_tokens(batch.captions, 3),
        semantics=grow_tokens(batch.semantics, 1),
    )
    one, other = (objective(model, b, HALFWAY) for b in (batch, grown))
    for name, value in one.terms.items():
        torch.testing.assert_close(value, other.terms[name])
