"""Names, cuts into shards, and what is said about differences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaksup.store import shard_path, shard_ranges
from weaksup.store.schema import SHARD_NAME, StorePlan
from weaksup.types import Provenance

PLAN = StorePlan(
    ids=("a.jpg", "b.jpg"),
    feature_size=4,
    attribute_slots=1,
    objects=("dog", "cat"),
    attributes=("red",),
    provenance=Provenance("onnx:yolo", "00", {"max_regions": 36, "size": (4, 4)}),
)


@given(st.integers(0, 300), st.integers(1, 12), st.integers(1, 40))
def test_shards_are_whole_groups_that_cover_all(total: int, shards: int, group_size: int) -> None:
    ranges = shard_ranges(total, shards, group_size)
    assert len(ranges) == shards
    assert [position for each in ranges for position in each] == list(range(total))
    assert all(each.start % group_size == 0 or not each for each in ranges)
    groups = [-(-len(each) // group_size) for each in ranges]
    assert max(groups) - min(groups) <= 1


@pytest.mark.parametrize(("shards", "group_size"), [(0, 4), (2, 0)])
def test_no_shards_of_nothing(shards: int, group_size: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        shard_ranges(10, shards, group_size)


def test_shard_names_are_those_of_the_contract() -> None:
    assert shard_path(Path("out"), 0, 4) == Path("out/regions-00000-of-00004.h5")
    match = SHARD_NAME.fullmatch(shard_path(Path(), 11, 123).name)
    assert match is not None
    assert match.groups() == ("00011", "00123")


def test_a_plan_survives_json_and_equals_itself_with_lists_for_tuples() -> None:
    again = StorePlan.from_json(PLAN.to_json())
    assert again == PLAN
    listed = replace(
        PLAN, provenance=Provenance("onnx:yolo", "00", {"size": [4, 4], "max_regions": 36})
    )
    assert PLAN.differences(listed) == []


def test_a_plan_with_classes_survives_json_and_one_without_them_may_lack_the_keys() -> None:
    plan = replace(
        PLAN,
        class_slots=2,
        classes=("tench", "crane"),
        object_words=(("dog", "canine"), ()),
        class_words=(("tench",), ("crane",)),
    )
    again = StorePlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == replace(plan, provenance=again.provenance)  # JSON has no tuples in there
    assert plan.differences(again) == []
    written = PLAN.to_json()
    for key in ("class_slots", "classes", "object_words", "class_words"):
        del written[key]
    assert StorePlan.from_json(written) == PLAN


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ids": ("b.jpg", "a.jpg")}, "images: the same ones in another order"),
        ({"ids": ("a.jpg", "c.jpg")}, "images: 1 new (c.jpg) and 1 gone (b.jpg)"),
        ({"feature_size": 8}, "feature_size 4 is now 8"),
        ({"objects": ("dog",)}, "object names: 1 gone (cat)"),
        ({"attributes": ("red", "x", "y")}, "attribute names: 2 new (x, ...)"),
        ({"class_slots": 5}, "class_slots 0 is now 5"),
        ({"classes": ("tench",)}, "class names: 1 new (tench)"),
        ({"object_words": (("dog",), ("cat",))}, 'words of objects: 2 new (["dog"], ...)'),
        ({"class_words": (("tench",),)}, 'words of classes: 1 new (["tench"])'),
        (
            {"provenance": Provenance("onnx:yolo", "00", {"max_regions": 20, "size": [4, 4]})},
            "setting max_regions 36 is now 20",
        ),
        (
            {"provenance": replace(PLAN.provenance, detector="demo")},
            "detector onnx:yolo is now demo",
        ),
        (
            {"provenance": replace(PLAN.provenance, weights_sha256="11")},
            "weights_sha256 00 is now 11",
        ),
    ],
)
def test_a_difference_is_named(changed: dict[str, object], said: str) -> None:
    assert PLAN.differences(replace(PLAN, **changed)) == [said]  # type: ignore[arg-type]


def test_of_nested_settings_only_what_differs_is_named() -> None:
    def plan(**model: object) -> StorePlan:
        settings = {"feature_model": {"name": "x" * 50, **model}}
        return replace(PLAN, provenance=Provenance("onnx:yolo", "00", settings))

    before = plan(input={"size": (448, 448), "channels": "rgb"}, bins=7)
    assert before.differences(plan(input={"size": (224, 224), "channels": "rgb"}, bins=9)) == [
        "setting feature_model.bins 7 is now 9",
        "setting feature_model.input.size [448, 448] is now [224, 224]",
    ]
    assert before.differences(plan(input={"size": (448, 448), "channels": "rgb"}, bins=7)) == []
    without = replace(PLAN, provenance=Provenance("onnx:yolo", "00", {}))
    assert without.differences(before) == [f"setting feature_model none is now {'x' * 50}"]
    same = {"input": {"size": (448, 448), "channels": "rgb"}, "bins": 7}
    classes = plan(**same, classes={"labels_sha256": "00"})
    assert classes.differences(before) == ["setting feature_model.classes given is now none"]
