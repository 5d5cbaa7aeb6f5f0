"""The closed-form teacher and the loss that learns from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trainer.build import Sizes, build_linear
from trainer.losses import distillation
from trainer.teacher import fit_linear, make_teacher


def teach(world, config):
    data = world.data()
    torch.manual_seed(0)
    tower = build_linear(config, Sizes.of(data))
    fit_linear(tower, data, max_regions=config.max_regions)
    return data, make_teacher(tower, data, max_regions=config.max_regions)


def test_every_training_image_and_gold_caption_has_an_embedding(world, tiny):
    data, teacher = teach(world, tiny())
    assert len(teacher.images) == len(data.rows)
    assert len(teacher.captions) == len(data.gold_captions)
    for rows in (teacher.images, teacher.captions):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


def test_gold_pairs_are_closer_than_others(world, tiny):
    data, teacher = teach(world, tiny())
    similarity = teacher.images[: data.annotated] @ teacher.captions.T
    own = data.gold_image[None, :] == np.arange(data.annotated)[:, None]
    assert similarity[own].mean() > similarity[~own].mean() + 0.2


OTHERS = {
    "features": lambda row: row.features + 3,
    "objects": lambda row: (row.objects + 1) % 3,
}


@pytest.mark.parametrize("change", OTHERS)
def test_it_learns_from_gold_pairs_alone(world, tiny, change):
    """What else un-annotated images show changes their embeddings, and nobody else's."""
    data, before = teach(world, tiny())
    _, after = teach(world.change("unannotated", **{change: OTHERS[change]}), tiny())
    annotated = slice(None, data.annotated)
    np.testing.assert_array_equal(before.captions, after.captions)
    np.testing.assert_array_equal(before.images[annotated], after.images[annotated])
    assert np.abs(before.images[data.annotated :] - after.images[data.annotated :]).max() > 0.01


def naive_distillation(similarity, teacher, temperature, teacher_temperature):
    def softmax(values):
        powers = [math.exp(value) for value in values]
        return [power / sum(powers) for power in powers]

    def one_way(students, teachers):
        costs = []
        for student, wanted in zip(students, teachers, strict=True):
            found = softmax([value / temperature for value in student])
            target = softmax([value / teacher_temperature for value in wanted])
            costs.append(-sum(t * math.log(f) for t, f in zip(target, found, strict=True)))
        return sum(costs) / len(costs)

    rows = one_way(similarity.tolist(), teacher.tolist())
    return (rows + one_way(similarity.T.tolist(), teacher.T.tolist())) / 2


def test_distillation_of_unequal_sides():
    generator = torch.Generator().manual_seed(1)
    similarity = torch.rand(5, 3, generator=generator, dtype=torch.float64) * 2 - 1
    teacher = torch.rand(5, 3, generator=generator, dtype=torch.float64) * 2 - 1
    found = distillation(similarity, teacher, temperature=0.3, teacher_temperature=0.2)
    expected = naive_distillation(similarity, teacher, 0.3, 0.2)
    assert math.isclose(float(found), expected, rel_tol=1e-5)


def test_distillation_is_least_where_the_student_agrees_and_trains_no_teacher():
    teacher = torch.eye(3, requires_grad=True)
    agreeing = torch.eye(3, requires_grad=True)
    loss = distillation(agreeing, teacher, temperature=0.5, teacher_temperature=0.5)
    other = distillation(torch.ones(3, 3), teacher, temperature=0.5, teacher_temperature=0.5)
    assert loss < other
    loss.backward()
    assert teacher.grad is None
    assert agreeing.grad is not None
    assert agreeing.grad.abs().max() < 1e-6
