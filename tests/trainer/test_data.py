from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from trainer.config import SemanticsConfig
from trainer.data import BatchDataset, EvaluationSet, Teacher, TrainingData
from weaksup.errors import DataError


def dataset(data, **settings):
    defaults = {
        "seed": 3,
        "epoch": 0,
        "batch_size": 4,
        "unannotated_size": 4,
        "max_regions": 4,
        "word_drop": 0.2,
        "word_removal": 0.0,
        "concept_drop": 0.2,
    }
    return BatchDataset(data, **{**defaults, **settings})


def flat(value):
    """The tensors of a batch by name, through nested dataclasses."""
    if isinstance(value, torch.Tensor):
        return {"": value}
    if isinstance(value, int):
        return {"": torch.tensor(value)}
    return {
        f"{field.name}.{name}": tensor
        for field in fields(value)
        for name, tensor in flat(getattr(value, field.name)).items()
    }


def same(first, second):
    first, second = flat(first), flat(second)
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def test_rows_are_the_annotated_images_then_the_others(world):
    data = world.data()
    ids = [data.store.ids[row] for row in data.rows]
    assert set(ids[: data.annotated]) == world.ids("annotated")
    assert set(ids[data.annotated :]) == world.ids("unannotated")
    kept = [
        (row.id, row.captions[index])
        for row in world.rows
        if row.part == "annotated"
        for index in row.kept
    ]
    found = [
        (ids[place], caption)
        for place, caption in zip(data.gold_image, data.gold_captions, strict=True)
    ]
    assert sorted(found) == sorted(kept)


def test_a_baseline_has_no_unannotated_image(world):
    data = world.data(unannotated=False)
    assert len(data.rows) == data.annotated == 7
    assert len(data.semantics.phrases) == 7


@pytest.mark.parametrize("attributes", [False, True])
@pytest.mark.parametrize("unannotated", [False, True])
def test_nothing_held_out_is_in_the_data(world, unannotated, attributes):
    data = world.data(unannotated=unannotated, attributes=attributes)
    words = set(data.vocabulary.words)
    text = " ".join([*words, *data.gold_captions, *map(" ".join, data.semantics.phrases)])
    assert "kept1" in words  # the markers of kept captions are there
    assert "traffic" in words
    assert not {w for w in text.split() if "marker" in w or "heldout" in w}
    assert ("red" in words) == attributes


def test_unreadable_images_are_left_out(world):
    lost = {"annotated/1.jpg", "unannotated/2.jpg"}
    damaged = world.change("annotated", readable=lambda row: row.id not in lost).change(
        "unannotated", readable=lambda row: row.id not in lost
    )
    data = damaged.data()
    ids = {data.store.ids[row] for row in data.rows}
    assert ids == world.ids("annotated", "unannotated") - lost
    batch = dataset(data)[0]
    assert batch.regions.mask.any(1).all()


@pytest.mark.parametrize("part", ["val", "test"])
@pytest.mark.parametrize("where", ["annotated", "unannotated"])
def test_annotations_that_name_a_held_out_image_are_refused(world, part, where):
    held_out = min(world.ids(part))
    wrong = replace(world.annotations(), **{where: (held_out,)})
    wrong.captions_kept[held_out] = (0,)
    with pytest.raises(DataError, match=held_out):
        build(world, annotations=wrong)


def test_annotations_of_other_captions_are_refused(world):
    with pytest.raises(DataError, match="other captions"):
        build(world, annotations=replace(world.annotations(), fingerprint="0" * 64))


def test_without_a_gold_caption_there_is_nothing_to_train_on(world):
    none = replace(world.annotations(), annotated=(), captions_kept={})
    with pytest.raises(DataError, match="no image of the region store has a gold caption"):
        build(world, annotations=none)


def build(world, *, annotations):
    return TrainingData.build(
        world.store(),
        world.corpus(),
        annotations,
        unannotated=True,
        semantics=SemanticsConfig(),
        min_count=1,
    )


def test_batches_depend_on_seed_epoch_and_step_alone(world):
    data = world.data()
    first, again = dataset(data, epoch=2), dataset(data, epoch=2)
    backwards = {step: again[step] for step in reversed(range(len(again)))}
    torch.manual_seed(99)
    np.random.seed(99)
    assert all(same(first[step], backwards[step]) for step in range(len(first)))
    for other in (dataset(data, epoch=1), dataset(data, epoch=2, seed=4)):
        assert not any(same(first[step], other[step]) for step in range(len(first)))


def test_workers_change_nothing(world):
    whole = dataset(world.data(), epoch=1)
    loader = DataLoader(whole, batch_size=None, num_workers=2)
    for step, batch in enumerate(loader):
        assert same(batch, whole[step])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_pins_the_whole_of_a_batch(world, workers):
    # Without un-annotated images and without a teacher some tensors are empty.
    for settings in ({}, {"unannotated_size": 0}):
        whole = dataset(world.data(), epoch=1, **settings)
        loader = DataLoader(whole, batch_size=None, num_workers=workers, pin_memory=True)
        for step, batch in enumerate(loader):
            assert same(batch, whole[step])
            assert all(
                value.is_pinned()
                for name, value in flat(batch).items()
                if value.numel() and not name.startswith("annotated")
            )


@pytest.mark.parametrize("batch_size", [2, 3, 4, 100])
@pytest.mark.parametrize("epoch", [0, 5])
def test_an_epoch_has_every_gold_caption_once(world, batch_size, epoch):
    data = world.data()
    whole = dataset(data, epoch=epoch, batch_size=batch_size, word_drop=0.0)
    seen = Counter()
    sizes = set()
    for step in range(len(whole)):
        batch = whole[step]
        sizes.add(batch.annotated)
        for row, ids, length in zip(
            batch.image, batch.captions.ids, batch.captions.lengths, strict=False
        ):
            seen[int(row), tuple(ids[:length].tolist())] += 1
    assert seen == Counter(
        (int(data.rows[place]), tuple(data.vocabulary.encode(caption)))
        for place, caption in zip(data.gold_image, data.gold_captions, strict=True)
    )
    assert max(sizes) - min(sizes) <= 1
    with pytest.raises(IndexError):
        whole[len(whole)]


@pytest.mark.parametrize("size", [1, 2, 4, 9, 50])
def test_every_unannotated_image_is_seen_before_one_is_seen_again(world, size):
    data = world.data()
    drawn = []
    for epoch in range(8):
        whole = dataset(data, epoch=epoch, unannotated_size=size)
        for step in range(len(whole)):
            batch = whole[step]
            drawn += batch.image[batch.annotated :].tolist()
    others = set(data.rows[data.annotated :].tolist())
    rounds = [drawn[start : start + 9] for start in range(0, len(drawn), 9)]
    assert all(len(set(part)) == len(part) and set(part) <= others for part in rounds)
    assert all(set(part) == others for part in rounds[:-1])
    if len(rounds) > 2:
        assert rounds[0] != rounds[1]


def test_batches_hold_training_images_and_what_the_store_says_of_them(world):
    data = world.data()
    training = world.ids("annotated", "unannotated")
    for epoch in range(3):
        whole = dataset(data, epoch=epoch, concept_drop=0.0)
        for step in range(len(whole)):
            batch = whole[step]
            assert {data.store.ids[row] for row in batch.image} <= training
            places = [int(np.flatnonzero(data.rows == int(row))[0]) for row in batch.image]
            assert (torch.tensor(places) < data.annotated).sum() == batch.annotated
            for position, place in enumerate(places):
                stored = data.store.regions(int(data.rows[place])).features[:4]
                stored = stored.astype(np.float32)
                expected = np.sign(stored) * np.abs(stored) ** 0.5
                found = batch.regions.features[position][batch.regions.mask[position]]
                np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
            others = places[batch.annotated :]
            assert len(others) == len(batch.semantics.ids) == len(batch.concepts) == 4
            for position, place in enumerate(others):
                words = data.vocabulary.encode(" ".join(data.semantics.phrases[place]))
                length = batch.semantics.lengths[position]
                assert batch.semantics.ids[position, :length].tolist() == words
                assert np.array_equal(batch.concepts[position], data.semantics.concepts[place])


def test_no_unannotated_images_where_none_are_wanted_or_there_are_none(world):
    for whole in (
        dataset(world.data(), unannotated_size=0),
        dataset(world.data(unannotated=False), unannotated_size=4),
    ):
        assert all(len(whole[step].image) == whole[step].annotated for step in range(len(whole)))


def test_dropped_words_become_unknown_and_phrases_never_all_go(world):
    data = world.data()
    dropped, whole = dataset(data, word_drop=0.9, concept_drop=0.9), dataset(data, word_drop=0.0)
    unknown = 0
    for step in range(len(whole)):
        one, other = dropped[step].captions, whole[step].captions
        assert torch.equal(one.lengths, other.lengths)
        changed = one.ids != other.ids
        assert one.ids[changed].eq(1).all()
        unknown += int(changed.sum())
        said = dropped[step].semantics.lengths
        assert said.ge(1).all()
    assert unknown > 0


def test_a_teachers_embeddings_follow_their_images_and_captions(world):
    data = world.data()
    images = np.arange(len(data.rows), dtype=np.float32)[:, None]
    captions = np.arange(len(data.gold_captions), dtype=np.float32)[:, None]
    whole = dataset(data, teacher=Teacher(images, captions), word_drop=0.0)
    for step in range(len(whole)):
        batch = whole[step]
        for row, place in zip(batch.image, batch.teacher_images[:, 0], strict=True):
            assert data.rows[int(place)] == row
        for number, gold in enumerate(batch.teacher_captions[:, 0]):
            words = data.vocabulary.encode(data.gold_captions[int(gold)])
            assert batch.captions.ids[number, : len(words)].tolist() == words
    assert dataset(data)[0].teacher_images.shape == (len(batch.image), 0)


def test_an_evaluation_set_has_all_captions_of_the_images_of_a_split(world):
    store = world.store()
    images = world.corpus().split("val")
    found = EvaluationSet.build(store, images)
    assert [store.ids[row] for row in found.rows] == [image.id for image in images]
    assert found.captions == [caption for image in images for caption in image.captions]
    assert found.caption_image.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


def test_annotations_of_images_that_the_store_lacks_are_refused(world):
    given = world.annotations()
    wrong = replace(given, unannotated=(*given.unannotated, "elsewhere/1.jpg"))
    with pytest.raises(DataError, match=r"not in .*, such as elsewhere/1.jpg"):
        build(world, annotations=wrong)


def test_annotations_of_captions_that_an_image_lacks_are_refused(world):
    given = world.annotations()
    first = given.annotated[0]
    wrong = replace(given, captions_kept={**given.captions_kept, first: (0, 99)})
    with pytest.raises(DataError, match=f"keep caption 99 of {first}"):
        build(world, annotations=wrong)


def test_removed_words_leave_the_order_of_the_others_and_never_nothing(world):
    data = world.data()
    shortened, whole = dataset(data, word_drop=0.0, word_removal=0.6), dataset(data, word_drop=0.0)
    removed = 0
    for step in range(len(whole)):
        one, other = shortened[step].captions, whole[step].captions
        for place in range(len(one.ids)):
            left = one.ids[place, : one.lengths[place]].tolist()
            rest = iter(other.ids[place, : other.lengths[place]].tolist())
            assert left
            assert all(word in rest for word in left)
            removed += int(other.lengths[place] - one.lengths[place])
    assert removed > 0
