"""What is no whole region store is refused, and the message says what is wrong with it."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from weaksup.errors import DataError
from weaksup.store import RegionWriter, open_store, shard_path, shard_ranges

DATASETS = [
    "/image/id",
    "/image/size",
    "/image/status",
    "/image/offset",
    "/region/box",
    "/region/feature",
    "/region/score",
    "/region/object",
    "/region/attribute",
    "/vocabulary/object",
    "/vocabulary/attribute",
]
ATTRIBUTES = ["version", "detector", "weights_sha256", "settings", "created", "complete"]


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        open_store(path)
    assert caught.value.hint
    return caught.value


def replace_dataset(path: Path, name: str, values: Any, **options: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, data=values, **options)


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_dataset_is_named(store_file: Path, name: str) -> None:
    with h5py.File(store_file, "r+") as file:
        del file[name]
    assert f"{name}: it is missing" in refused(store_file).message


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_of_another_type_is_named(store_file: Path, name: str) -> None:
    with h5py.File(store_file) as file:
        shape = file[name].shape
    replace_dataset(store_file, name, np.zeros(shape, np.float64))
    assert f"{name}: it is float64" in refused(store_file).message


@pytest.mark.parametrize("name", [name for name in DATASETS if not name.startswith("/vocab")])
def test_a_dataset_that_lacks_a_row_is_named(store_file: Path, name: str) -> None:
    with h5py.File(store_file) as file:
        values, dtype = file[name][:-1], file[name].dtype
    replace_dataset(store_file, name, values, dtype=dtype)
    # With one id less, it is the next dataset that has a row too many.
    named = "/image/size" if name == "/image/id" else name
    assert f"{named}: " in refused(store_file).message


@pytest.mark.parametrize("name", ["/region/feature", "/region/box", "/region/object"])
def test_a_chunked_dataset_is_refused(store_file: Path, name: str) -> None:
    with h5py.File(store_file) as file:
        values = file[name][()]
    replace_dataset(store_file, name, values, chunks=True)
    assert f"{name}: it is not contiguous" in refused(store_file).message


@pytest.mark.parametrize(
    ("name", "place", "value", "said"),
    [
        ("/region/object", 2, 5, "points beyond 5 names"),
        ("/region/object", 2, -2, "points beyond"),
        ("/region/attribute", (1, 1), 3, "points beyond 3 names"),
        ("/image/status", 0, 3, "unknown status 3"),
        ("/image/offset", 0, 1, "does not rise from 0"),
        ("/image/offset", 4, 0, "does not rise from 0"),
        ("/image/id", 1, "folder/00.é.jpg", "an id is there twice"),
        ("/image/id", 1, b"\xff\xfe", "utf-8"),
    ],
)
def test_a_wrong_value_is_named(
    store_file: Path, name: str, place: Any, value: Any, said: str
) -> None:
    with h5py.File(store_file, "r+") as file:
        file[name][place] = value
    message = refused(store_file).message
    assert f"{name}: " in message
    assert said in message


def test_another_version_is_named(store_file: Path) -> None:
    with h5py.File(store_file, "r+") as file:
        file.attrs["version"] = 2
    message = refused(store_file).message
    assert "version 2" in message
    assert "version 1" in message


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_missing_or_wrong_attribute_is_named(store_file: Path, name: str) -> None:
    with h5py.File(store_file, "r+") as file:
        file.attrs[name] = np.zeros(3)
    assert f"attribute {name}: " in refused(store_file).message
    with h5py.File(store_file, "r+") as file:
        del file.attrs[name]
    assert f"attribute {name}: " in refused(store_file).message


@pytest.mark.parametrize("settings", ["{", "[1]"])
def test_settings_that_are_no_object_are_named(store_file: Path, settings: str) -> None:
    with h5py.File(store_file, "r+") as file:
        file.attrs["settings"] = settings
    assert "attribute settings: " in refused(store_file).message


@pytest.mark.parametrize("problems", [None, "nonsense", "[1]", 7])
def test_reasons_are_a_courtesy(example: Any, store_file: Path, problems: Any) -> None:
    with h5py.File(store_file, "r+") as file:
        del file.attrs["problems"]
        if problems is not None:
            file.attrs["problems"] = problems
    assert open_store(store_file).problems == [(example.ids[3], "")]


def test_an_incomplete_file_is_refused(store_file: Path) -> None:
    with h5py.File(store_file, "r+") as file:
        file.attrs["complete"] = False
    assert "is not complete" in refused(store_file).message


def test_what_is_no_store(tmp_path: Path) -> None:
    text, empty, other = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5"))
    text.write_text("this is text")
    empty.touch()
    h5py.File(other, "w").close()
    assert "is no HDF5 file" in refused(text).message
    assert "is empty" in refused(empty).message
    assert "no region store" in refused(other).message
    assert "there is no region store" in refused(tmp_path / "gone.h5").message
    assert "holds no shards" in refused(tmp_path).message


def test_an_unfinished_store_says_how_to_go_on(example: Any, tmp_path: Path) -> None:
    path = tmp_path / "regions.h5"
    with RegionWriter.open(path, **example.arguments):
        pass
    error = refused(path)
    assert "is not finished" in error.message
    assert "weaksup extract" in error.hint


def test_a_file_cut_short_names_what_it_lacks(
    make_example: Callable[..., Any], tmp_path: Path
) -> None:
    whole = make_example(counts=[30] * 8, feature_size=256).write(tmp_path / "whole.h5")
    content = whole.read_bytes()
    with h5py.File(whole) as file:
        start = file["/region/feature"].id.get_offset()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(content[: start + 1000])
    message = refused(cut).message
    assert "cut short" in message
    assert "/region/feature" in message
    cut.write_bytes(content[:300])
    assert "damaged" in refused(cut).message


def test_a_file_cut_anywhere_is_refused(store_file: Path, tmp_path: Path) -> None:
    content = store_file.read_bytes()
    cut = tmp_path / "cut.h5"
    for length in [0, 1, 7, 8, 9, *range(50, len(content), 293), len(content) - 1]:
        cut.write_bytes(content[:length])
        refused(cut)


# Opens files with damaged bytes: whatever HDF5 makes of them, only a DataError may come out. In a
# process of its own, because HDF5 does not promise to survive a damaged header.
FUZZ = """
import resource, sys
from pathlib import Path
from weaksup.errors import DataError
from weaksup.store import open_store
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # a damaged length asks for gigabytes
for path in sorted(Path(sys.argv[1]).glob("*.h5")):
    try:
        store = open_store(path)
        store.gather(range(len(store)))
    except DataError:
        pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
def test_damaged_bytes_end_in_a_readable_error_or_in_data(store_file: Path, tmp_path: Path) -> None:
    content = store_file.read_bytes()
    folder = tmp_path / "fuzz"
    folder.mkdir()
    generator = random.Random(0)
    for number in range(60):
        damaged = bytearray(content)
        start = generator.randrange(len(damaged))
        for place in range(start, min(len(damaged), start + generator.choice([1, 8, 100]))):
            damaged[place] = generator.randrange(256)
        (folder / f"{number}.h5").write_bytes(damaged)
    result = subprocess.run(
        [sys.executable, "-c", FUZZ, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture
def shards(make_example: Callable[..., Any], tmp_path: Path) -> Path:
    """A folder of three shards."""
    example = make_example(images=12)
    for number, positions in enumerate(shard_ranges(12, 3, 4)):
        example.part(positions).write(shard_path(tmp_path / "shards", number, 3))
    return tmp_path / "shards"


def test_missing_shards_are_named(shards: Path) -> None:
    shard_path(shards, 0, 3).unlink()
    shard_path(shards, 2, 3).unlink()
    message = refused(shards).message
    assert "regions-00000-of-00003.h5, regions-00002-of-00003.h5" in message
    assert "regions-00001" not in message


def test_shards_of_two_stores_are_refused(shards: Path) -> None:
    shutil.copy(shard_path(shards, 0, 3), shard_path(shards, 0, 2))
    assert "of several stores: of 2, of 3" in refused(shards).message


def test_shards_made_otherwise_are_refused(make_example: Callable[..., Any], shards: Path) -> None:
    example = make_example(images=12).part(range(4, 8))
    provenance = replace(example.arguments["provenance"], detector="onnx:other")
    path = shard_path(shards, 1, 3)
    example.write(path, provenance=provenance, overwrite=True)
    assert "detector onnx:test is now onnx:other" in refused(shards).message
    provenance = replace(provenance, settings=dict.fromkeys("abcde", 1))
    example.write(path, provenance=provenance, overwrite=True)
    assert refused(shards).message.endswith("; setting b none is now 1; and 5 more")


def test_shards_with_the_same_image_are_refused(shards: Path) -> None:
    shutil.copy(shard_path(shards, 0, 3), shard_path(shards, 1, 3))
    assert "two shards" in refused(shards).message


def test_a_damaged_shard_is_named(shards: Path) -> None:
    path = shard_path(shards, 1, 3)
    with h5py.File(path, "r+") as file:
        del file["/region/box"]
    message = refused(shards).message
    assert path.name in message
    assert "/region/box" in message
