"""What the writer makes, what it finds, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from weaksup.errors import DataError, UsageError
from weaksup.store import FORMAT, VERSION, RegionWriter, StoreItem, open_store, write_store
from weaksup.store.schema import journal_folder
from weaksup.types import STATUS_UNREADABLE


def test_the_file_is_that_of_the_contract(example: Any, store_file: Path) -> None:
    regions = sum(len(item.regions) for item in example.items if item.regions is not None)
    with h5py.File(store_file) as file:
        shapes = {
            "image/id": (10,),
            "image/size": (10, 2),
            "image/status": (10,),
            "image/offset": (11,),
            "region/box": (regions, 4),
            "region/feature": (regions, 6),
            "region/score": (regions,),
            "region/object": (regions,),
            "region/attribute": (regions, 2),
            "vocabulary/object": (5,),
            "vocabulary/attribute": (3,),
        }
        found: dict[str, Any] = {}
        file.visititems(
            lambda name, node: found.update({name: node}) if hasattr(node, "shape") else None
        )
        assert {name: node.shape for name, node in found.items()} == shapes
        dtypes = {
            name: node.dtype.str for name, node in found.items() if node.dtype != np.dtype(object)
        }
        assert dtypes == {
            "image/size": "<i4",
            "image/status": "|u1",
            "image/offset": "<i8",
            "region/box": "<f4",
            "region/feature": "<f2",
            "region/score": "<f2",
            "region/object": "<i4",
            "region/attribute": "<i4",
        }
        for name in ("image/id", "vocabulary/object", "vocabulary/attribute"):
            assert h5py.check_string_dtype(found[name].dtype).encoding == "utf-8"
        assert found["region/feature"].chunks is None
        assert found["region/feature"].compression is None
        assert file.attrs["format"] == FORMAT == "weaksup.regions"
        assert file.attrs["version"] == VERSION == 1
        assert file.attrs["complete"].dtype == np.bool_
        assert file.attrs["complete"]
        assert file.attrs["detector"] == "onnx:test"
        assert file.attrs["weights_sha256"] == "ab" * 32
        assert json.loads(file.attrs["settings"]) == {"score": 0.2, "size": [4, 4]}
        assert json.loads(file.attrs["problems"]) == [[example.ids[3], "reason 3"]]
        age = datetime.now(timezone.utc) - datetime.fromisoformat(file.attrs["created"])
        assert 0 <= age.total_seconds() < 60


def test_many_long_reasons_find_room(make_example: Callable[..., Any], tmp_path: Path) -> None:
    example = make_example(counts=[0] * 300)
    items = [replace(item, reason="r" * 1000) for item in example.items]
    path = write_store(tmp_path / "regions.h5", items, **example.arguments)
    assert open_store(path).problems == [(name, "r" * 1000) for name in example.ids]


def test_nothing_but_the_file_is_left(store_file: Path) -> None:
    assert [entry.name for entry in store_file.parent.iterdir()] == ["regions.h5"]


def test_a_group_is_counted_and_no_other_size_is_taken(example: Any, tmp_path: Path) -> None:
    with RegionWriter.open(tmp_path / "regions.h5", **example.arguments) as writer:
        assert (writer.done, writer.finished, writer.problems) == (0, False, [])
        with pytest.raises(ValueError, match="expected 4 items after 0 images, got 3"):
            writer.append_group(example.items[:3])
        writer.append_group(example.items[:4])
        assert writer.done == 4
        assert writer.problems == [(example.ids[3], "reason 3")]
        writer.append_group(example.items[4:8])
        with pytest.raises(ValueError, match="2 images are missing"):
            writer.finish()
        writer.append_group(example.items[8:])
        assert writer.finish() == tmp_path / "regions.h5"
        assert writer.finished
        assert writer.finish() == tmp_path / "regions.h5"
        with pytest.raises(ValueError, match="finished"):
            writer.append_group(example.items[:4])


def test_a_finished_store_is_found_finished(example: Any, store_file: Path) -> None:
    before = store_file.read_bytes()
    journal_folder(store_file).mkdir()  # as after a kill between the last two steps of finish()
    with RegionWriter.open(store_file, **{**example.arguments, "group_size": 3}) as writer:
        assert writer.finished
        assert writer.done == 10
        assert writer.problems == [(example.ids[3], "reason 3")]
    assert example.write(store_file) == store_file
    assert store_file.read_bytes() == before
    assert not journal_folder(store_file).exists()


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"objects": ["person"]}, "object names: 4 gone"),
    ({"feature_size": 7}, "feature_size 6 is now 7"),
    ({"attribute_slots": 3}, "attribute_slots 2 is now 3"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_a_store_made_otherwise_is_not_replaced(
    example: Any, store_file: Path, change: dict[str, Any], said: str
) -> None:
    before = store_file.read_bytes()
    with pytest.raises(UsageError, match=said) as caught:
        RegionWriter.open(store_file, **{**example.arguments, **change})
    assert "--overwrite" in caught.value.hint
    assert store_file.read_bytes() == before
    assert not journal_folder(store_file).exists()


def test_settings_and_images_that_differ_are_named(example: Any, store_file: Path) -> None:
    provenance = replace(example.arguments["provenance"], settings={"score": 0.3, "size": [4, 4]})
    ids = [*example.ids[:-1], "new.jpg"]
    with pytest.raises(UsageError) as caught:
        RegionWriter.open(store_file, **{**example.arguments, "provenance": provenance, "ids": ids})
    assert "setting score 0.2 is now 0.3" in caught.value.message
    assert "1 new (new.jpg) and 1 gone" in caught.value.message


def test_of_many_settings_that_differ_the_first_are_named(example: Any, store_file: Path) -> None:
    settings = {**example.arguments["provenance"].settings, **dict.fromkeys("abcde", 1)}
    provenance = replace(example.arguments["provenance"], settings=settings)
    with pytest.raises(UsageError) as caught:
        RegionWriter.open(store_file, **{**example.arguments, "provenance": provenance})
    assert caught.value.message == (
        f"{store_file} was made otherwise: setting a none is now 1; setting b none is now 1; "
        "setting c none is now 1; and 2 more"
    )


def test_what_is_no_store_is_not_replaced(example: Any, tmp_path: Path) -> None:
    path = tmp_path / "regions.h5"
    path.write_text("my notes")
    with pytest.raises(UsageError, match=r"in the way: .* is no HDF5 file"):
        example.write(path)
    assert path.read_text() == "my notes"
    assert open_store(example.write(path, overwrite=True)).ids == example.ids
    with pytest.raises(UsageError, match="is a folder"):
        example.write(tmp_path, overwrite=True)


def test_overwriting_keeps_the_old_store_until_the_new_one_is_whole(
    example: Any, make_example: Callable[..., Any], store_file: Path
) -> None:
    other = make_example(seed=1)
    old = store_file.read_bytes()
    with RegionWriter.open(store_file, **other.arguments, overwrite=True) as writer:
        writer.append_group(other.items[:4])
    assert store_file.read_bytes() == old
    # The same command again goes on; nothing is done twice.
    with RegionWriter.open(store_file, **other.arguments, overwrite=True) as writer:
        assert writer.done == 4
        writer.append_group(other.items[4:8])
        writer.append_group(other.items[8:])
        assert store_file.read_bytes() == old
        writer.finish()
    features = open_store(store_file).regions(0).features
    np.testing.assert_array_equal(features, other.items[0].regions.features.astype(np.float16))


def test_overwriting_discards_what_another_run_began(example: Any, tmp_path: Path) -> None:
    path = tmp_path / "regions.h5"
    for _ in range(2):
        with RegionWriter.open(path, **example.arguments) as writer:
            assert writer.done == 0
            writer.append_group(example.items[:4])
        with RegionWriter.open(path, **example.arguments, overwrite=True) as writer:
            assert writer.done == 0
        journal_folder(path).joinpath("header.json").unlink()


def test_an_empty_store(make_example: Callable[..., Any], tmp_path: Path) -> None:
    store = open_store(make_example(counts=[]).write(tmp_path / "regions.h5"))
    assert len(store) == 0
    assert store.gather([]).features.shape == (0, 0, 6)


def test_write_store_goes_on(
    example: Any, tmp_path: Path, datasets: Callable[[Path], dict[str, bytes]]
) -> None:
    path = tmp_path / "regions.h5"
    with RegionWriter.open(path, **example.arguments) as writer:
        writer.append_group(example.items[:4])
    assert datasets(example.write(path)) == datasets(example.write(tmp_path / "whole.h5"))
    with pytest.raises(ValueError, match="expected 2 items after 8 images, got 1"):
        write_store(tmp_path / "less.h5", iter(example.items[:-1]), **example.arguments)


def _change(item: StoreItem, **changes: Any) -> StoreItem:
    assert item.regions is not None
    return replace(item, regions=replace(item.regions, **changes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda item: _change(item, features=np.zeros((1, 5), np.float32)), "features is (1, 5)"),
        (lambda item: _change(item, scores=np.zeros(2, np.float32)), "scores is (2,)"),
        (lambda item: _change(item, objects=np.array([5], np.int32)), "objects beyond the 5"),
        (lambda item: _change(item, attributes=np.array([[0, -2]], np.int32)), "attributes beyond"),
        (lambda item: replace(item, status=7), "unknown status 7"),
        (lambda item: replace(item, status=STATUS_UNREADABLE), "unless it is unreadable"),
        (lambda item: replace(item, regions=None), "unless it is unreadable"),
        (
            lambda item: _change(
                item,
                boxes=np.zeros((0, 4), np.float32),
                features=np.zeros((0, 6), np.float32),
                scores=np.zeros(0, np.float32),
                objects=np.zeros(0, np.int32),
                attributes=np.zeros((0, 2), np.int32),
            ),
            "unless it is unreadable",
        ),
    ],
)
def test_items_that_do_not_fit(
    example: Any, tmp_path: Path, change: Callable[[StoreItem], StoreItem], said: str
) -> None:
    items = [change(example.items[0]), *example.items[1:4]]
    with RegionWriter.open(tmp_path / "regions.h5", **example.arguments) as writer:
        with pytest.raises(ValueError) as caught:
            writer.append_group(items)
        assert said in str(caught.value)
        assert example.ids[0] in str(caught.value)
        assert writer.done == 0


@pytest.mark.parametrize("value", [70000.0, -np.inf, np.nan, 65520.0])
def test_features_beyond_float16_are_refused_by_name(
    example: Any, tmp_path: Path, value: float
) -> None:
    features = example.items[1].regions.features.copy()
    features[0, 0] = value
    items = [example.items[0], _change(example.items[1], features=features), *example.items[2:4]]
    with RegionWriter.open(tmp_path / "regions.h5", **example.arguments) as writer:
        with pytest.raises(DataError, match=r"folder/01.*float16"):
            writer.append_group(items)
        writer.append_group(example.items[:4])
        assert writer.done == 4


def test_the_largest_feature_that_fits(make_example: Callable[..., Any], tmp_path: Path) -> None:
    example = make_example(counts=[1], feature_size=1)
    item = _change(example.items[0], features=np.array([[65519.0]], np.float32))
    path = write_store(tmp_path / "regions.h5", [item], **example.arguments)
    assert open_store(path).regions(0).features.tolist() == [[65504.0]]


def test_ids_that_cannot_be(example: Any, tmp_path: Path) -> None:
    path = tmp_path / "regions.h5"
    with pytest.raises(ValueError, match=r"a\.jpg is there twice"):
        RegionWriter.open(path, **{**example.arguments, "ids": ["a.jpg", "b.jpg", "a.jpg"]})
    with pytest.raises(DataError, match="not valid UTF-8"):
        RegionWriter.open(path, **{**example.arguments, "ids": ["a\udc80.jpg"]})
    with pytest.raises(ValueError, match="group_size=0"):
        RegionWriter.open(path, **{**example.arguments, "group_size": 0})
    assert not journal_folder(path).exists()


def test_a_place_that_cannot_be_written(example: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        example.write(tmp_path / "file" / "regions.h5")


MEMORY = """
import resource, sys
from itertools import repeat
from pathlib import Path
import numpy as np
from weaksup.store import StoreItem, write_store
from weaksup.types import Provenance, Regions
regions = Regions(np.zeros((36, 4), np.float32), np.ones((36, 2048), np.float32),
                  np.ones(36, np.float32), np.zeros(36, np.int32), np.zeros((36, 0), np.int32))
def write(path, images):
    write_store(Path(path), repeat(StoreItem((4, 4), 0, regions), images),
                ids=[str(number) for number in range(images)], feature_size=2048,
                attribute_slots=0, objects=["dog"], attributes=[],
                provenance=Provenance("", "", {}), group_size=8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write(sys.argv[1] + "/small.h5", 120)
print(write(sys.argv[1] + "/small2.h5", 120), write(sys.argv[1] + "/large.h5", 900))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    output = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    small, large = (int(word) for word in output.split())
    # 900 images of 36 x 2048 float16 are 127 MiB.
    assert large - small < 16 << 10
