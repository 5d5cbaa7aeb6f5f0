"""Whole runs of tiny models: what reaches the weights, and what is the same again."""

from __future__ import annotations

import json
import operator

import numpy as np
import pytest
import torch

import trainer
from trainer.config import MODEL_NAMES
from trainer.evaluate import evaluate_images
from trainer.run import load_run

# Every term of the objective and every source of random numbers.
ALL_TERMS = {"w_weak": 0.5, "w_adv": 0.1, "w_pseudo": 0.3}


def other_features(row):
    return row.features[::-1] * 3 + 100


def other_concepts(row):
    return np.where(row.objects < 0, -1, (row.objects + 1) % 6).astype(np.int32)


def other_captions(row):
    return tuple(f"wholly new {number}" for number in range(5))


OTHER = {"features": other_features, "objects": other_concepts, "captions": other_captions}


def dropped_captions(row):
    kept = [text if place in row.kept else "wholly new" for place, text in enumerate(row.captions)]
    return (*kept, "one more")


def trained(world, config, tmp_path, name):
    world.train(config, tmp_path / name)
    return world.learnt(tmp_path / name)


@pytest.fixture
def once(tiny):
    # One epoch: with more of them, validation may choose another one.
    def make(model):
        terms = ALL_TERMS if model == "a3vse" else {}
        return tiny(model, epochs=1, semantics__attributes=True, **terms)

    return make


@pytest.mark.parametrize("model", MODEL_NAMES)
@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("val", OTHER),
        ("test", OTHER),
        ("unannotated", {"captions": other_captions}),
        ("annotated", {"captions": dropped_captions}),
    ],
    ids=["val", "test", "captions of un-annotated images", "captions that are not kept"],
)
def test_what_training_may_not_see_changes_no_byte(world, once, tmp_path, model, part, change):
    before = trained(world, once(model), tmp_path, "before")
    assert before == trained(world.change(part, **change), once(model), tmp_path, "after")


@pytest.mark.parametrize("model", [name for name in MODEL_NAMES if name != "a3vse"])
def test_unannotated_images_change_no_byte_of_a_baseline(world, once, tmp_path, model):
    before = trained(world, once(model), tmp_path, "before")
    changed = world.change("unannotated", **OTHER)
    assert before == trained(changed, once(model), tmp_path, "after")


def test_of_what_the_detector_names_baselines_learn_nothing_and_the_linear_tower_does(
    world, tiny, tmp_path
):
    changed = world.change("annotated", objects=other_concepts)

    store = world.store()
    sentences = [caption for row in world.rows for caption in row.captions]
    linear_alone = {"fusion__network": 0, "fusion__concepts": 0, "hubness__weight": 0}

    def similarities(place, config, name):
        trained(place, config, tmp_path, name)
        run = load_run(tmp_path / name)
        return run.encode_images(store) @ run.encode_texts(sentences).T

    for model, weight, same in (("cca", 1, True), ("a3vse", 0, True), ("a3vse", 1, False)):
        config = tiny(model, epochs=1, **linear_alone, fusion__objects=weight)
        found = [
            similarities(place, config, f"{model}-{weight}-{number}")
            for number, place in enumerate((world, changed))
        ]
        assert np.allclose(*found, atol=1e-4) == same, (model, weight)


@pytest.mark.parametrize("ablation", [{}, {"fusion__concepts": 0, "fusion__objects": 0}])
def test_unannotated_images_that_are_left_out_change_no_byte(world, tiny, tmp_path, ablation):
    config = tiny("a3vse", epochs=1, unannotated=False, **ablation)
    before = trained(world, config, tmp_path, "before")
    changed = world.change("unannotated", **OTHER)
    assert before == trained(changed, config, tmp_path, "after")


def test_without_weak_pairs_unannotated_images_stay_in_the_banks(world, tiny, tmp_path):
    config = tiny("a3vse", epochs=1, w_weak=0, w_pseudo=0, w_adv=0)
    before = trained(world, config, tmp_path, "before")
    changed = world.change("unannotated", **OTHER)
    assert before != trained(changed, config, tmp_path, "after")


@pytest.mark.parametrize("model", MODEL_NAMES)
@pytest.mark.parametrize("change", ["captions", "features"])
def test_what_training_may_see_changes_the_weights(world, once, tmp_path, model, change):
    """The tests above can fail: the same comparison finds a difference where there must be one."""

    def one_caption(row):
        return (f"{row.captions[0]} cat", *row.captions[1:])

    make = {"captions": one_caption, "features": other_features}[change]
    before = trained(world, once(model), tmp_path, "before")
    after = trained(world.change("annotated", **{change: make}), once(model), tmp_path, "after")
    assert before["model.safetensors"] != after["model.safetensors"]


@pytest.mark.parametrize("change", ["features", "objects"])
def test_a3vse_learns_from_unannotated_images(world, once, tmp_path, change):
    before = trained(world, once("a3vse"), tmp_path, "before")
    changed = world.change("unannotated", **{change: OTHER[change]})
    after = trained(changed, once("a3vse"), tmp_path, "after")
    assert before["model.safetensors"] != after["model.safetensors"]


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_held_out_rows_are_read_for_validation_alone(world, once, tmp_path, monkeypatch, model):
    """Every read of the store but those of validation."""
    read, validating = [], []

    def spy_on(reader):
        real = operator.attrgetter(reader)(trainer)

        def spy(store, rows, **settings):
            if not validating:
                read.extend(store.ids[row] for row in rows)
            return real(store, rows, **settings)

        monkeypatch.setattr(f"trainer.{reader}", spy)

    def validate(*arguments):
        validating.append(True)
        result = evaluate_images(*arguments)
        validating.clear()
        return result

    monkeypatch.setattr("trainer.train.evaluate_images", validate)
    for reader in (
        *(f"{module}.read_regions" for module in ("data", "statistics", "teacher")),
        *(f"{module}.read_evidence" for module in ("evidence", "semantics", "teacher")),
        *(f"{module}.read_objects" for module in ("evidence", "teacher")),
    ):
        spy_on(reader)
    trained(world, once(model), tmp_path, "run")
    expected = ("annotated", "unannotated") if model == "a3vse" else ("annotated",)
    assert set(read) == world.ids(*expected)


def test_no_marker_is_in_the_vocabulary_of_the_run(world, once, tmp_path):
    trained(world, once("a3vse"), tmp_path, "run")
    words = json.loads((tmp_path / "run" / "vocabulary.json").read_text())["words"]
    assert not [word for word in words if "marker" in word or "heldout" in word]
    assert "kept1" in words


# ------------------------------------------------------------------------------------- determinism


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_the_same_seed_gives_the_same_bytes(world, tiny, tmp_path, model):
    config = tiny(model, **(ALL_TERMS if model == "a3vse" else {}))
    first = trained(world, config, tmp_path, "first")
    torch.rand(7)  # whatever was drawn before
    assert first == trained(world, config, tmp_path, "second")
    other = trained(world, config.model_copy(update={"seed": 1}), tmp_path, "third")
    # A closed form has nothing to draw.
    assert (first == other) == (model == "cca")


def test_workers_change_no_byte(world, tiny, tmp_path):
    first, second = (
        trained(world, tiny("a3vse", epochs=1, workers=n, **ALL_TERMS), tmp_path, str(n))
        for n in (0, 2)
    )
    assert first == second
