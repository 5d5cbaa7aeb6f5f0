"""A store gives back what was written, however it is asked."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weaksup.errors import DataError
from weaksup.store import RegionBatch, RegionStore, open_store, shard_path, shard_ranges
from weaksup.types import STATUS_NO_REGION, STATUS_OK, STATUS_UNREADABLE

FIELDS = ("features", "boxes", "scores", "objects", "attributes")
PADDING = {"features": 0, "boxes": 0, "scores": 0, "objects": -1, "attributes": -1}


def naive_gather(example: Any, indices: list[int], max_regions: int | None) -> dict[str, Any]:
    """``RegionStore.gather`` the slow way, from the items that were written."""
    items = [example.items[index] for index in indices]
    counts = [0 if item.regions is None else len(item.regions) for item in items]
    if max_regions is not None:
        counts = [min(count, max_regions) for count in counts]
    width = max(counts, default=0)
    widths = {
        "features": (example.arguments["feature_size"],),
        "boxes": (4,),
        "scores": (),
        "objects": (),
        "attributes": (example.arguments["attribute_slots"],),
    }
    batch: dict[str, Any] = {
        field: np.full((len(items), width, *shape), PADDING[field], np.float64)
        for field, shape in widths.items()
    }
    batch["mask"] = np.zeros((len(items), width), bool)
    for place, (item, count) in enumerate(zip(items, counts, strict=True)):
        for region in range(count):
            batch["mask"][place, region] = True
            for field in FIELDS:
                value = getattr(item.regions, field)[region]
                half = field in ("features", "scores")
                batch[field][place, region] = np.float16(value) if half else value
    return batch


def assert_same(batch: RegionBatch, expected: dict[str, Any]) -> None:
    for field, values in expected.items():
        np.testing.assert_array_equal(getattr(batch, field), values, err_msg=field)


def mapped_kilobytes(path: Path) -> int:
    """How much of a file this process has in memory through its mappings."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split(":")[0].split(" ")[0]:
            inside = line.endswith(str(path.resolve()))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="tells memory apart on Linux")
@pytest.mark.parametrize("sharded", [False, True])
def test_pages_that_were_read_are_let_go(
    make_example: Callable[..., Any], tmp_path: Path, monkeypatch: Any, sharded: bool
) -> None:
    example = make_example(images=64, feature_size=4096)
    path = shard_path(tmp_path, 0, 1) if sharded else tmp_path / "regions.h5"
    example.write(path)
    features = sum(len(item.regions) for item in example.items if item.regions) * 4096 * 2
    store = open_store(tmp_path if sharded else path)
    everything = [store.gather([index]).features.copy() for index in range(len(store))]
    held = mapped_kilobytes(path)
    assert held * 1024 > 0.9 * features > 500_000
    monkeypatch.setattr("weaksup.store.reader.KEPT_BYTES", features // 4)
    for index, expected in enumerate(everything):
        np.testing.assert_array_equal(store.gather([index]).features, expected)
        store.gather([index])
    assert mapped_kilobytes(path) < 0.75 * held


def test_what_is_written_is_read(example: Any, store_file: Path) -> None:
    store = open_store(store_file)
    counts = [0 if item.regions is None else len(item.regions) for item in example.items]
    assert len(store) == len(example.ids)
    assert store.ids == example.ids
    assert store.sizes.tolist() == [list(item.size) for item in example.items]
    assert store.status.tolist() == [item.status for item in example.items]
    assert set(store.status) == {STATUS_OK, STATUS_UNREADABLE, STATUS_NO_REGION}
    assert np.diff(store.offsets).tolist() == counts
    assert store.feature_size == 6
    assert store.objects == example.arguments["objects"]
    assert store.attributes == example.arguments["attributes"]
    assert store.provenance == example.arguments["provenance"]
    assert store.problems == [(example.ids[3], "reason 3")]
    dtypes = [store.sizes.dtype, store.status.dtype, store.offsets.dtype]
    assert dtypes == [np.int32, np.uint8, np.int64]
    for index, item in enumerate(example.items):
        if item.regions is None:
            assert len(store.regions(index)) == 0
            continue
        regions = store.regions(index)
        for field in FIELDS:
            values = getattr(item.regions, field)
            stored = values.astype(np.float16) if field in ("features", "scores") else values
            read = getattr(regions, field)
            np.testing.assert_array_equal(read, stored, err_msg=field)
            assert read.dtype == values.dtype
            assert read.flags.c_contiguous


def test_the_regions_of_all_images_in_one_array(example: Any, store_file: Path) -> None:
    store = open_store(store_file)
    regions = [item.regions for item in example.items if item.regions is not None]
    for field in ("scores", "objects", "attributes"):
        values = np.concatenate([getattr(each, field) for each in regions])
        if field == "scores":
            values = values.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(getattr(store, f"region_{field}"), values)


@pytest.mark.parametrize(("feature_size", "slots"), [(6, 2), (0, 0), (5, 0), (0, 1)])
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    counts=st.lists(st.integers(0, 5), max_size=9),
    shards=st.integers(0, 3),
    picks=st.lists(st.integers(0, 1000), max_size=12),
    max_regions=st.none() | st.integers(1, 6),
)
def test_gather_equals_the_naive_way(
    make_example: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    feature_size: int,
    slots: int,
    counts: list[int],
    shards: int,
    picks: list[int],
    max_regions: int | None,
) -> None:
    example = make_example(counts=counts, feature_size=feature_size, slots=slots)
    folder = tmp_path_factory.mktemp("store")
    if shards:
        for number, positions in enumerate(shard_ranges(len(counts), shards, 4)):
            example.part(positions).write(shard_path(folder, number, shards))
        store = open_store(folder)
    else:
        store = open_store(example.write(folder / "regions.h5"))
    indices = [pick % len(counts) for pick in picks] if counts else []
    batch = store.gather(np.array(indices, np.int64), max_regions=max_regions)
    assert_same(batch, naive_gather(example, indices, max_regions))
    dtypes = [getattr(batch, field).dtype for field in FIELDS]
    assert dtypes == [np.float16, np.float32, np.float32, np.int32, np.int32]


def test_gather_of_images_that_are_all_alike(
    make_example: Callable[..., Any], tmp_path: Path
) -> None:
    example = make_example(counts=[3] * 8)
    store = open_store(example.write(tmp_path / "regions.h5"))
    indices = [7, 0, 7, 3]
    assert_same(store.gather(indices), naive_gather(example, indices, None))
    assert_same(store.gather(indices, max_regions=2), naive_gather(example, indices, 2))


def test_a_batch_is_the_callers_own(store_file: Path) -> None:
    store = open_store(store_file)
    before = store.gather([0, 1])
    changed = store.gather([0, 1])
    for field in FIELDS:
        getattr(changed, field)[...] = 77
    for field in FIELDS:
        again = getattr(store.gather([0, 1]), field)
        np.testing.assert_array_equal(again, getattr(before, field))


@pytest.mark.parametrize("indices", [[-1], [10], [0, 99]])
def test_an_index_that_is_not_there(store_file: Path, indices: list[int]) -> None:
    with pytest.raises(IndexError, match=r"outside 0\.\.9"):
        open_store(store_file).gather(indices)


@pytest.mark.parametrize("indices", [[0.5], [[0]], ["a"], [True]])
def test_indices_are_a_list_of_integers(store_file: Path, indices: Any) -> None:
    with pytest.raises(ValueError, match="expected integers"):
        open_store(store_file).gather(indices)


def test_max_regions_is_positive(store_file: Path) -> None:
    with pytest.raises(ValueError, match="max_regions 0"):
        open_store(store_file).gather([0], max_regions=0)


def test_an_id_is_found_or_missed_by_name(example: Any, store_file: Path) -> None:
    store = open_store(store_file)
    assert [store.index(name) for name in reversed(example.ids)] == list(range(9, -1, -1))
    with pytest.raises(DataError, match="no image gone"):
        store.index("gone.jpg")


def test_shards_read_as_the_single_file(make_example: Callable[..., Any], tmp_path: Path) -> None:
    # Five groups in eight shards: some shards are empty, at the end and between.
    example = make_example(images=18)
    single = open_store(example.write(tmp_path / "regions.h5"))
    folder = tmp_path / "shards"
    for number, positions in enumerate(shard_ranges(18, 8, 4)):
        example.part(positions).write(shard_path(folder, number, 8))
    sharded = open_store(folder)
    assert sharded.plan == single.plan
    assert sharded.fingerprint == single.fingerprint
    assert sharded.problems == single.problems
    np.testing.assert_array_equal(sharded.offsets, single.offsets)
    np.testing.assert_array_equal(sharded.sizes, single.sizes)
    indices = [17, 0, 5, 5, 9, 12, 3]
    one, other = single.gather(indices), sharded.gather(indices)
    for field in (*FIELDS, "mask"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_the_fingerprint_tells_stores_apart(
    make_example: Callable[..., Any], tmp_path: Path
) -> None:
    example = make_example()
    fingerprint = open_store(example.write(tmp_path / "a.h5")).fingerprint
    assert open_store(example.write(tmp_path / "b.h5")).fingerprint == fingerprint
    others = [
        {"ids": [name + "x" for name in example.ids]},
        {"objects": [*example.arguments["objects"], "cat"]},
        {"provenance": type(example.arguments["provenance"])("other", "", {})},
    ]
    found = {
        open_store(example.write(tmp_path / f"{number}.h5", **change)).fingerprint
        for number, change in enumerate(others)
    }
    found.add(open_store(make_example(images=9).write(tmp_path / "c.h5")).fingerprint)
    assert len(found | {fingerprint}) == 5


def test_a_pickled_store_is_a_path(store_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store_file.parent)
    pickled = pickle.dumps(open_store(store_file.name))
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    store: RegionStore = pickle.loads(pickled)
    assert store.ids == open_store(store_file).ids


def test_a_store_that_was_replaced_is_not_read_on(
    make_example: Callable[..., Any], store_file: Path
) -> None:
    store = open_store(store_file)
    before = store.gather(range(10)).features.copy()
    pickled = pickle.dumps(store)
    make_example(images=8).write(store_file, overwrite=True)
    np.testing.assert_array_equal(store.gather(range(10)).features, before)
    with pytest.raises(DataError, match="was replaced"):
        pickle.loads(pickled)


BATCHES = [[0, 1, 2], [9, 5], [4, 4, 7], [3]]


def test_spawned_workers_read_the_same(example: Any, store_file: Path) -> None:
    store = open_store(store_file)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for indices, batch in zip(BATCHES, pool.map(store.gather, BATCHES), strict=True):
            assert_same(batch, naive_gather(example, indices, None))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_forked_workers_read_the_same(example: Any, store_file: Path) -> None:
    store = open_store(store_file)
    context = multiprocessing.get_context("fork")
    results: Any = context.SimpleQueue()
    # A closure: nothing is pickled on the way in, the mapping itself is inherited.
    workers = [
        context.Process(target=lambda at=at: results.put((at, store.gather(BATCHES[at]))))
        for at in range(len(BATCHES))
    ]
    for worker in workers:
        worker.start()
    read = dict(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    for at, indices in enumerate(BATCHES):
        assert_same(read[at], naive_gather(example, indices, None))
