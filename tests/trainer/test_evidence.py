"""Evidence for concepts, against a loop over regions."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evidence import OBJECT_COLUMNS, concept_words, read_evidence, read_objects, sources
from weaksup.store import StoreItem, open_store, write_store
from weaksup.types import STATUS_OK, STATUS_UNREADABLE, Provenance, Regions

OBJECTS, ATTRIBUTES, CLASSES = ["car", "dog"], ["blue", "red", "small"], ["kelpie", "alp"]
COUNTS = (3, 0, 1, 4)


def regions(count, classes):
    generator = np.random.default_rng(count)
    return Regions(
        boxes=np.sort(generator.uniform(0, 1, (count, 2, 2)), axis=1)
        .reshape(count, 4)
        .astype(np.float32),
        features=np.zeros((count, 2), np.float32),
        scores=np.where(np.arange(count) == 1, 0.1, generator.uniform(0, 1, count)).astype(
            np.float32
        ),
        objects=generator.integers(-1, 2, count).astype(np.int32),
        attributes=generator.integers(-1, 3, (count, 2)).astype(np.int32),
        **(
            {
                "classes": generator.integers(-1, 2, (count, 3)).astype(np.int32),
                "class_scores": generator.uniform(0, 1, (count, 3)).astype(np.float32),
            }
            if classes
            else {}
        ),
    )


@pytest.fixture(params=[True, False], ids=["classes", "no classes"])
def store(request, tmp_path):
    items = [
        StoreItem(size=(4, 4), status=STATUS_OK, regions=regions(count, request.param))
        if count
        else StoreItem(size=(0, 0), status=STATUS_UNREADABLE, regions=None, reason="empty")
        for count in COUNTS
    ]
    with_classes = {
        "class_slots": 3,
        "classes": CLASSES,
        "class_words": [("kelpie", "dog"), ("alp", "mountain")],
        "object_words": [("car", "automobile"), ("dog",)],
    }
    path = write_store(
        tmp_path / "regions.h5",
        items,
        ids=[f"{number}.jpg" for number in range(len(COUNTS))],
        feature_size=2,
        attribute_slots=2,
        objects=OBJECTS,
        attributes=ATTRIBUTES,
        provenance=Provenance("test", "0", {"score_threshold": 0.5}),
        **(with_classes if request.param else {}),
    )
    return open_store(path)


def naive(store, row):
    sizes = sources(store)
    found = np.zeros(sum(sizes), np.float32)
    for place, region in enumerate(range(store.offsets[row], store.offsets[row + 1])):
        score, named = store.region_scores[region], store.region_objects[region]
        if named >= 0:
            found[named] = max(found[named], score)
            for word in store.region_attributes[region]:
                if word >= 0 and score >= 0.5:
                    found[2 + word] = max(found[2 + word], score)
        for slot in range(store.region_classes.shape[1]):
            seen = store.region_classes[region, slot]
            if seen < 0:
                continue
            sure = store.region_class_scores[region, slot]
            for start in (5, 7) if place == 0 else (7,):
                found[start + seen] = max(found[start + seen], sure)
    return found


def test_the_highest_score_of_each_concept(store):
    rows = np.array([3, 0, 1, 2, 3])
    found = read_evidence(store, rows)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [naive(store, row) for row in rows])
    assert found[2].max() == 0  # an unreadable image says nothing
    assert found.max() > 0


def naive_objects(store, row):
    found = np.zeros((OBJECT_COLUMNS, len(store.objects)))
    boxes = store.regions(row).boxes
    for place, region in enumerate(range(store.offsets[row], store.offsets[row + 1])):
        score, named = store.region_scores[region], store.region_objects[region]
        if named >= 0 and score >= np.float16(0.1):
            x1, y1, x2, y2 = boxes[place]
            found[0, named] = max(found[0, named], score)
            found[1, named] += score
            found[2, named] += score * (x2 - x1) * (y2 - y1)
    return np.sqrt(found.ravel())


def test_how_surely_how_often_and_how_large_each_object_is(store):
    rows = np.array([3, 0, 1, 2, 3])
    found = read_objects(store, rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [naive_objects(store, row) for row in rows], rtol=1e-5)
    assert found[2].max() == 0  # an unreadable image shows nothing
    assert len(np.unique(found[found > 0])) > 4


def test_every_concept_has_its_words(store):
    words = concept_words(store)
    assert len(words) == sum(sources(store))
    if store.classes:
        assert words == [
            *(("car", "automobile"), ("dog",)),
            *(("blue",), ("red",), ("small",)),
            *(2 * [("kelpie", "dog"), ("alp", "mountain")]),
        ]
    else:
        assert words == [("car",), ("dog",), ("blue",), ("red",), ("small",)]


def test_a_store_without_any_names_gives_no_evidence(tmp_path):
    """As stores of imported features are."""
    item = StoreItem(
        size=(4, 4),
        status=STATUS_OK,
        regions=Regions(
            boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (2, 1)),
            features=np.zeros((2, 2), np.float32),
            scores=np.ones(2, np.float32),
            objects=np.full(2, -1, np.int32),
            attributes=np.zeros((2, 0), np.int32),
        ),
    )
    path = write_store(
        tmp_path / "bare.h5",
        [item],
        ids=["0.jpg"],
        feature_size=2,
        attribute_slots=0,
        objects=[],
        attributes=[],
        provenance=Provenance("test", "0", {}),
    )
    store = open_store(path)
    assert read_evidence(store, [0]).shape == (1, 0)
    assert read_objects(store, [0]).shape == (1, 0)
    assert concept_words(store) == []
