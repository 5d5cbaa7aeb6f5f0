"""Stores with the feature network's classes, and words: additions that other stores lack."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from weaksup.errors import DataError, UsageError
from weaksup.store import RegionWriter, open_store, shard_path, shard_ranges
from weaksup.store.schema import journal_folder

OPTIONAL = {
    "region/class",
    "region/class_score",
    "vocabulary/class",
    "vocabulary/object_words",
    "vocabulary/class_words",
}
Datasets = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def classed(make_example: Callable[..., Any]) -> Any:
    """An example with three classes a region."""
    return make_example(class_slots=3)


@pytest.fixture
def classed_file(classed: Any, tmp_path: Path) -> Path:
    path: Path = classed.write(tmp_path / "classed.h5")
    return path


def test_the_datasets_are_those_of_the_format(classed_file: Path, datasets: Datasets) -> None:
    assert set(datasets(classed_file)) > OPTIONAL
    with h5py.File(classed_file) as file:
        rows = len(file["region/box"])
        assert file["region/class"].shape == file["region/class_score"].shape == (rows, 3)
        assert (file["region/class"].dtype, file["region/class_score"].dtype) == ("<i4", "<f2")
        assert file["vocabulary/class"].asstr()[3] == "Border collie"
        words = file["vocabulary/object_words"].asstr()[()]
        assert [json.loads(text) for text in words] == [
            ["person"],
            ["dog", "canine"],
            ["light"],
            [],
            ["naïveté"],
        ]
        assert h5py.check_string_dtype(file["vocabulary/class_words"].dtype).encoding == "utf-8"
        assert file.attrs["version"] == 1


def test_what_is_written_is_read(classed: Any, classed_file: Path) -> None:
    store = open_store(classed_file)
    regions = [item.regions for item in classed.items if item.regions is not None]
    assert store.classes == ("tench", "crane", "crane", "Border collie")
    assert store.object_words[1] == ("dog", "canine")
    assert store.object_words[3] == ()
    assert store.class_words == (
        ("tench", "fish"),
        ("crane",),
        ("crane", "bird"),
        ("collie", "dog"),
    )
    classes = np.concatenate([each.classes for each in regions])
    scores = np.concatenate([each.class_scores for each in regions]).astype(np.float16)
    np.testing.assert_array_equal(store.region_classes, classes)
    np.testing.assert_array_equal(store.region_class_scores, scores)
    assert (store.region_classes.dtype, store.region_class_scores.dtype) == (np.int32, np.float32)
    for index, item in enumerate(classed.items):
        if item.regions is not None:
            np.testing.assert_array_equal(store.regions(index).classes, item.regions.classes)
            stored = item.regions.class_scores.astype(np.float16)
            np.testing.assert_array_equal(store.regions(index).class_scores, stored)
    assert pickle.loads(pickle.dumps(store)).classes == store.classes


def test_a_store_without_them_reads_as_ever(
    example: Any, store_file: Path, datasets: Datasets
) -> None:
    assert not OPTIONAL & set(datasets(store_file))
    store = open_store(store_file)
    rows = int(store.offsets[-1])
    assert (store.classes, store.class_words, store.object_words) == ((), (), ())
    assert store.region_classes.shape == store.region_class_scores.shape == (rows, 0)
    assert (store.region_classes.dtype, store.region_class_scores.dtype) == (np.int32, np.float32)
    assert store.regions(0).classes.shape == (len(store.regions(0)), 0)
    # The fingerprint as it was before there were classes: runs remember it.
    digest, provenance = hashlib.sha256(), example.arguments["provenance"]
    for part in (
        [provenance.detector, provenance.weights_sha256],
        json.dumps(provenance.settings, sort_keys=True),
        [6, 2],
        [example.arguments["objects"], example.arguments["attributes"]],
        example.ids,
    ):
        digest.update(json.dumps(part).encode() + b"\n")
    digest.update(store.offsets.tobytes())
    assert store.fingerprint == digest.hexdigest()


def test_words_alone(example: Any, tmp_path: Path) -> None:
    """A detector's objects have words; only a feature model brings classes."""
    path = example.write(tmp_path / "words.h5", object_words=[[], ["dog"], [], [], []])
    store = open_store(path)
    assert store.object_words == ((), ("dog",), (), (), ())
    assert (store.classes, store.class_words) == ((), ())
    assert store.fingerprint != open_store(example.write(tmp_path / "plain.h5")).fingerprint


def test_shards_read_as_the_single_file(make_example: Callable[..., Any], tmp_path: Path) -> None:
    example = make_example(images=18, class_slots=3)
    single = open_store(example.write(tmp_path / "regions.h5"))
    # Five groups in six shards: one is empty.
    for number, positions in enumerate(shard_ranges(18, 6, 4)):
        example.part(positions).write(shard_path(tmp_path / "shards", number, 6))
    sharded = open_store(tmp_path / "shards")
    assert sharded.plan == single.plan
    assert sharded.fingerprint == single.fingerprint
    np.testing.assert_array_equal(sharded.region_classes, single.region_classes)
    np.testing.assert_array_equal(sharded.region_class_scores, single.region_class_scores)
    np.testing.assert_array_equal(sharded.regions(17).classes, single.regions(17).classes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ["a", "b", "c", "d"]}, "class names: 4 new"),
        ({"class_words": [[], [], [], []]}, "words of classes"),
        ({"object_words": []}, "words of objects"),
    ],
)
def test_shards_must_agree(
    make_example: Callable[..., Any], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    example = make_example(images=8, class_slots=3)
    for number, positions in enumerate(shard_ranges(8, 2, 4)):
        part, changed = example.part(positions), changes if number else {}
        part.write(shard_path(tmp_path / "shards", number, 2), **changed)
    with pytest.raises(DataError, match=said):
        open_store(tmp_path / "shards")


@pytest.mark.parametrize("groups", [0, 1, 2, 3])
def test_an_interrupted_store_ends_with_the_same_bytes(
    classed: Any, classed_file: Path, tmp_path: Path, datasets: Datasets, groups: int
) -> None:
    path = tmp_path / "again.h5"
    with RegionWriter.open(path, **classed.arguments) as writer:
        for start in range(0, 4 * groups, 4):
            writer.append_group(classed.items[start : start + 4])
    classed.write(path)
    assert datasets(path) == datasets(classed_file)


@pytest.mark.parametrize("name", ["class.raw", "class_score.raw"])
def test_a_commit_whose_classes_are_torn_is_done_again(
    classed: Any, classed_file: Path, tmp_path: Path, datasets: Datasets, name: str
) -> None:
    path = tmp_path / "again.h5"
    with RegionWriter.open(path, **classed.arguments) as writer:
        writer.append_group(classed.items[:4])
        kept = (journal_folder(path) / name).stat().st_size
        writer.append_group(classed.items[4:8])
    content = (journal_folder(path) / name).read_bytes()
    assert len(content) > kept > 0
    for damaged in (content[: kept + 1], content[:-1], content[:-1] + bytes([content[-1] ^ 0x55])):
        folder = tmp_path / "copy.h5.partial"
        shutil.copytree(journal_folder(path), folder)
        (folder / name).write_bytes(damaged)
        with RegionWriter.open(tmp_path / "copy.h5", **classed.arguments) as writer:
            assert writer.done == 4
        classed.write(tmp_path / "copy.h5")
        assert datasets(tmp_path / "copy.h5") == datasets(classed_file)
        (tmp_path / "copy.h5").unlink()


def test_other_words_do_not_refuse_a_finished_store(classed: Any, classed_file: Path) -> None:
    """WordNet may have come or gone since: the regions are the same."""
    before = classed_file.read_bytes()
    classed.write(classed_file, object_words=[], class_words=[[], [], [], []])
    assert classed_file.read_bytes() == before
    with pytest.raises(UsageError, match="class names"):
        classed.write(classed_file, classes=["a", "b", "c", "d"])
    with pytest.raises(UsageError, match="class_slots 3 is now 2"):
        classed.write(classed_file, class_slots=2)


def test_other_words_refuse_an_unfinished_store_and_a_shard(classed: Any, tmp_path: Path) -> None:
    changes = {**classed.arguments, "object_words": []}
    with RegionWriter.open(tmp_path / "regions.h5", **classed.arguments):
        pass
    with pytest.raises(UsageError, match="words of objects"):
        RegionWriter.open(tmp_path / "regions.h5", **changes)
    shard = classed.write(shard_path(tmp_path, 0, 2))
    with pytest.raises(UsageError, match="words of objects"):
        RegionWriter.open(shard, **changes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"class_slots": 0},
        {"classes": [], "class_words": []},
        {"class_slots": -1},
        {"object_words": [["person"]]},
        {"class_words": [["tench"]] * 5},
    ],
)
def test_arguments_that_do_not_fit(classed: Any, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"class|words"):
        RegionWriter.open(tmp_path / "x.h5", **{**classed.arguments, **wrong})


def test_items_that_do_not_fit(classed: Any, example: Any, tmp_path: Path) -> None:
    with RegionWriter.open(tmp_path / "x.h5", **classed.arguments) as writer:
        with pytest.raises(ValueError, match="classes is"):
            writer.append_group(example.items[:4])
        first = classed.items[0]
        beyond = np.full_like(first.regions.classes, 4)
        wrong = replace(first, regions=replace(first.regions, classes=beyond))
        with pytest.raises(ValueError, match="classes beyond the 4 names"):
            writer.append_group([wrong, *classed.items[1:4]])


def spoil(path: Path, name: str, values: Any, **options: Any) -> str:
    """Replace a dataset, None to delete it; return what the reader says."""
    with h5py.File(path, "r+") as file:
        del file[name]
        if values is not None:
            file.create_dataset(name, data=values, **options)
    with pytest.raises(DataError) as caught:
        open_store(path)
    return caught.value.message


TEXT = {"dtype": h5py.string_dtype()}


@pytest.mark.parametrize("name", ["/region/class", "/region/class_score", "/vocabulary/class"])
def test_a_missing_part_is_named(classed_file: Path, name: str) -> None:
    assert f"{name}: it is missing" in spoil(classed_file, name, None)


@pytest.mark.parametrize(
    ("name", "values", "options", "said"),
    [
        ("/region/class", np.zeros((9, 3)), {}, "float64"),
        ("/region/class", np.zeros(9, np.int32), {}, "1 dimensions"),
        ("/region/class", np.zeros((0, 0), np.int32), {}, "0 slots for 4 classes"),
        ("/region/class_score", np.zeros((3, 3), np.float16), {}, "(3, 3)"),
        ("/vocabulary/class", np.zeros(4), {}, "expected a list of texts"),
        ("/vocabulary/class", ["tench"], TEXT, "points beyond 1 name"),
        ("/vocabulary/object_words", ["[]"], TEXT, "1 entry for 5 names"),
        ("/vocabulary/object_words", ["["] * 5, TEXT, "Expecting value"),
        ("/vocabulary/object_words", ['{"a": 1}'] * 5, TEXT, "no JSON list of texts"),
        ("/vocabulary/class_words", ["[1]"] * 4, TEXT, "no JSON list of texts"),
    ],
)
def test_a_wrong_part_is_named(
    classed_file: Path, name: str, values: Any, options: dict[str, Any], said: str
) -> None:
    # With fewer class names, the words that go with them would be what is wrong.
    if said.startswith("points"):
        with h5py.File(classed_file, "r+") as file:
            del file["/vocabulary/class_words"]
        name_in_message = "/region/class"
    else:
        name_in_message = name
    message = spoil(classed_file, name, values, **options)
    assert name_in_message in message
    assert said in message


def test_a_file_cut_short_in_its_classes_names_them(
    make_example: Callable[..., Any], tmp_path: Path
) -> None:
    path = make_example(counts=[30] * 8, class_slots=40).write(tmp_path / "whole.h5")
    with h5py.File(path) as file:
        start = file["/region/class_score"].id.get_offset()
    path.write_bytes(path.read_bytes()[: start + 10])
    with pytest.raises(DataError, match=r"cut short .*/region/class_score") as caught:
        open_store(path)
    assert "/region/box" not in caught.value.message
