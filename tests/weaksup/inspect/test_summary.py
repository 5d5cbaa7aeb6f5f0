"""Figures of a store, against loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weaksup.inspect.boxes import named_boxes, region_name
from weaksup.inspect.summary import Frequency, summarise
from weaksup.store import StoreItem, open_store, write_store
from weaksup.types import STATUS_OK, Provenance, Regions

IMAGES = {
    "a.jpg": [("dog", ["red", "small"], 0.9), ("dog", [], 0.5), ("cat", ["red"], 0.1)],
    "b.jpg": [("cat", ["red"], 0.8)],
    "gone.jpg": None,
    "c.jpg": [("dog", ["left", "small"], 0.4)],
    "guess.jpg": [("cat", ["red"], 0.19)],
    "empty.jpg": [],
}


def test_counts_what_speaks(make_store, tmp_path: Path) -> None:
    summary = summarise(open_store(make_store(tmp_path / "regions.h5", IMAGES)), top=10)
    assert (summary.images, summary.unreadable, summary.without_region) == (6, 1, 0)
    # The whole image is a region of each.
    assert summary.per_image == (1, 2.0, 4)
    assert (summary.regions, summary.speaking, summary.feature_size) == (11, 4, 2)
    assert summary.without_concept == 2
    assert summary.without_concept_ids == ("guess.jpg", "empty.jpg")
    assert summary.names == {"object": 2, "attribute": 3, "class": 0}
    assert summary.frequent["object"] == (Frequency("dog", 2, 3), Frequency("cat", 1, 1))
    assert summary.frequent["attribute"][:2] == (
        Frequency("red", 2, 2),
        Frequency("small", 2, 2),
    )
    assert "class" not in summary.frequent


def test_only_the_most_frequent_are_told(make_store, tmp_path: Path) -> None:
    store = open_store(make_store(tmp_path / "regions.h5", IMAGES))
    summary = summarise(store, top=1, examples=1)
    assert [each.name for each in summary.frequent["object"]] == ["dog"]
    assert summary.without_concept_ids == ("guess.jpg",)


def test_a_store_without_images(make_store, tmp_path: Path) -> None:
    summary = summarise(open_store(make_store(tmp_path / "regions.h5", {"x.jpg": None})), top=3)
    assert (summary.per_image, summary.regions) == ((0, 0.0, 0), 0)
    assert summary.frequent == {"object": (), "attribute": ()}


def test_names_of_regions(make_store, tmp_path: Path) -> None:
    store = open_store(make_store(tmp_path / "regions.h5", IMAGES))
    index = store.index("a.jpg")
    boxes = named_boxes(store, index, threshold=0.2)
    # Size first, as people say it; position never.
    assert [(box.name, round(box.score, 1)) for box in boxes] == [
        ("small red dog", 0.9),
        ("dog", 0.5),
    ]
    assert named_boxes(store, store.index("c.jpg"), threshold=0.2)[0].name == "small dog"
    assert region_name(store, int(store.offsets[index])) == ""


def test_the_most_probable_class_counts(tmp_path: Path) -> None:
    def item(*classes: tuple[int, int]) -> StoreItem:
        size = len(classes)
        return StoreItem(
            (4, 4),
            STATUS_OK,
            Regions(
                boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (size, 1)),
                features=np.ones((size, 2), np.float32),
                scores=np.ones(size, np.float32),
                objects=np.full(size, -1, np.int32),
                attributes=np.zeros((size, 0), np.int32),
                classes=np.array(classes, np.int32),
                class_scores=np.tile(np.array([0.5, 0.2], np.float32), (size, 1)),
            ),
        )

    path = write_store(
        tmp_path / "regions.h5",
        [item((0, 1), (2, 0), (2, 1)), item((2, 0)), item((2, 1), (0, 1))],
        ids=["a.jpg", "b.jpg", "c.jpg"],
        feature_size=2,
        attribute_slots=0,
        objects=[],
        attributes=[],
        provenance=Provenance("test", "0" * 64, {}),
        class_slots=2,
        classes=["tench", "crane", "boat"],
    )
    summary = summarise(open_store(path), top=5)
    # The whole image is the first region; "crane" is never the most probable.
    assert summary.frequent["class"] == (Frequency("boat", 2, 4), Frequency("tench", 1, 2))
    assert summary.names["class"] == 3
