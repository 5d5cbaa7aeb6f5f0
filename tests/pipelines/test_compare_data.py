"""Which images are for what, and that nothing of the others reaches training."""

from __future__ import annotations

import json

import pytest

from pipelines.compare.cell import run_cell
from pipelines.compare.config import load_comparison
from pipelines.compare.data import hold_out
from pipelines.compare.plan import plan_cells
from weaksup.corpora import read_annotations, read_corpus
from weaksup.errors import UsageError


def of(corpus, split):
    return {image.id for image in corpus.split(split)}


def test_held_out_images_are_val_and_the_own_val_is_the_test(world):
    file = world.captions(parts=("train", "val"))
    before = read_corpus(file)
    data = world.data(file, hold_out=5)
    assert of(data.corpus, "test") == of(before, "val")
    assert len(of(data.corpus, "val")) == 5
    assert of(data.corpus, "val") | of(data.corpus, "train") == of(before, "train")
    assert (data.test.name, len(data.test.images)) == ("test", 6)
    assert data.corpus.fingerprint != before.fingerprint
    assert any("5 training images are held out" in note for note in data.notes)


def test_where_there_is_a_test_the_own_val_is_used_nowhere(world):
    data = world.data(world.captions(), hold_out=5)
    # One of the test images cannot be read.
    assert of(data.corpus, "test") == {f"test/{number}.jpg" for number in range(1, 5)}
    assert not {name for name in of(data.corpus, "val") if name.startswith("val/")}
    assert {image.split for image in data.corpus.images if image.id.startswith("val/")} == {None}


def test_the_draw_depends_on_the_ids_alone(world):
    corpus = read_corpus(world.captions())
    held = of(hold_out(corpus, 6), "val")
    turned = type(corpus)(corpus.images[::-1], corpus.source, corpus.format, corpus.fingerprint)
    assert of(hold_out(turned, 6), "val") == held
    assert of(hold_out(corpus, 3), "val") < held


def test_without_hold_out_nothing_changes(world):
    corpus = read_corpus(world.captions())
    assert hold_out(corpus, 0) is corpus


def test_something_must_be_left_to_train_on(world):
    with pytest.raises(UsageError, match="leaves none of the 24"):
        world.data(world.captions(), hold_out=24)


def test_figures_of_val_are_said_to_flatter(world):
    assert not any("flatters" in note for note in world.data(world.captions()).notes)
    data = world.data(world.captions(parts=("train", "val")))
    assert data.test.name == "val"
    assert any("flatters" in note for note in data.notes)


@pytest.fixture
def trained(world):
    """Train the one cell of a file on some captions; its folder."""

    def train(captions, name):
        path = world.config('models = ["a3vse"]\nratios = [1.0]\nseeds = [0]\nhold_out = 5\n')
        comparison = load_comparison(path)
        (cell,) = plan_cells(comparison)
        data = world.data(captions, hold_out=5)
        run_cell(cell, data, folder=world.folder / name, protocols=("full",))
        return world.folder / name

    return train


def test_no_caption_of_test_or_held_out_images_reaches_training(world, trained):
    file = world.captions()
    held = of(world.data(file, hold_out=5).corpus, "val")
    unseen = {*held, *(f"val/{n}.jpg" for n in range(6)), *(f"test/{n}.jpg" for n in range(5))}
    folder = trained(file, "before")
    marked = trained(world.captions(says=dict.fromkeys(unseen, "secretword")), "marked")
    for name in ("model.safetensors", "vocabulary.json"):
        assert (folder / name).read_bytes() == (marked / name).read_bytes()
    kept = read_annotations(folder / "annotations.json")
    assert not unseen & {*kept.annotated, *kept.unannotated}
    assert len(kept.annotated) == 24 - 5
    # What is not held out does reach it, or this would prove nothing.
    seen = sorted({f"train/{n}.jpg" for n in range(24)} - held)[0]
    other = trained(world.captions(says={seen: "secretword"}), "other")
    assert "secretword" in json.loads((other / "vocabulary.json").read_text())["words"]
    assert (folder / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()
