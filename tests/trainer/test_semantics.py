from __future__ import annotations

import math

import numpy as np
import pytest

from trainer import semantics
from trainer.evidence import read_evidence
from trainer.semantics import read_semantics
from weaksup.store import StoreItem, open_store, write_store
from weaksup.types import STATUS_OK, Provenance, Regions


def read(store, rows, *, threshold=0.25, word_threshold=0.2, attributes=False, spoken=()):
    return read_semantics(
        store,
        np.asarray(rows),
        threshold=threshold,
        word_threshold=word_threshold,
        attributes=attributes,
        spoken=frozenset(spoken),
    )


def naive_phrases(store, row, threshold, attributes):
    regions = store.regions(row)
    phrases = []
    for place in range(len(regions)):
        if regions.objects[place] < 0 or regions.scores[place] < threshold:
            continue
        words = [store.attributes[a] for a in regions.attributes[place] if a >= 0 and attributes]
        phrase = " ".join([*words, store.objects[regions.objects[place]]])
        if phrase not in phrases:
            phrases.append(phrase)
    return phrases


@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_phrases_and_concepts_against_a_loop(world, attributes, threshold):
    store = world.store()
    rows = [4, 1, 17, 9]
    found = read(store, rows, threshold=threshold, attributes=attributes)
    assert found.phrases == [naive_phrases(store, row, threshold, attributes) for row in rows]
    plain = [set(naive_phrases(store, row, threshold, False)) for row in rows]
    words = sorted(set.union(*plain))
    assert found.concepts.tolist() == [[word in said for word in words] for said in plain]
    for concept, word in enumerate(words):
        images = sum(word in said for said in plain)
        assert found.weights[concept] == pytest.approx(math.log(4 / images), abs=1e-6)


def test_an_image_whose_regions_are_all_unsure_says_nothing(world):
    found = read(world.store(), [0], threshold=1.0)
    assert found.phrases == [[]]
    assert found.concepts.shape == (1, 0)


CLASSES = ["kelpie", "spaniel", "alp", "wreck"]
WORDS = [("kelpie", "dog"), ("spaniel", "dog"), ("alp", "mountain"), ("wreck", "hulk")]


@pytest.fixture
def classified(tmp_path):
    """Two images of a whole and one region each, with two classes a region, surest first."""

    def item(classes, scores):
        return StoreItem(
            size=(4, 4),
            status=STATUS_OK,
            regions=Regions(
                boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (2, 1)),
                features=np.zeros((2, 2), np.float32),
                scores=np.array([1, 0.9], np.float32),
                objects=np.array([-1, 0], np.int32),
                attributes=np.zeros((2, 0), np.int32),
                classes=np.array(classes, np.int32),
                class_scores=np.array(scores, np.float32),
            ),
        )

    path = write_store(
        tmp_path / "regions.h5",
        [
            item([[2, 0], [1, 3]], [[0.5, 0.3], [0.75, 0.25]]),
            item([[0, 3], [-1, -1]], [[0.4, 0.1], [0, 0]]),
        ],
        ids=["0.jpg", "1.jpg"],
        feature_size=2,
        attribute_slots=0,
        objects=["car"],
        attributes=[],
        class_slots=2,
        classes=CLASSES,
        class_words=WORDS,
        object_words=[("car",)],
        provenance=Provenance("test", "0", {}),
    )
    return open_store(path)


def test_classes_without_words_say_nothing(classified, monkeypatch):
    monkeypatch.setattr(classified, "class_words", ())
    assert read(classified, [0, 1], spoken={"dog", "kelpie"}).phrases == [["car"], ["car"]]


@pytest.mark.parametrize("chunk", [1, 1024])
def test_classes_follow_the_objects_surest_first_by_words_that_captions_use(
    classified, chunk, monkeypatch
):
    monkeypatch.setattr(semantics, "CHUNK", chunk)
    found = read(classified, [0, 1], spoken={"dog", "alp", "mountain"})
    # The spaniel (0.75) and the kelpie (0.3) are one dog; no caption knows a wreck or a hulk.
    assert found.phrases == [["car", "dog", "alp"], ["car", "dog"]]
    assert found.concepts.tolist() == [[True, True, True], [False, True, True]]  # alp, car, dog
    assert found.weights == pytest.approx([math.log(2), 0, 0])


@pytest.mark.parametrize(
    ("threshold", "said"), [(0.6, ["car", "dog"]), (0.8, ["car"]), (0.0, ["car", "dog", "hulk"])]
)
def test_unsure_classes_say_nothing(classified, threshold, said):
    found = read(classified, [0], word_threshold=threshold, spoken={"dog", "hulk"})
    assert found.phrases == [said]


@pytest.mark.parametrize(("threshold", "expected"), [(1.0, []), (0.99, [0, 1])])
def test_where_nothing_can_be_sure_enough_no_evidence_is_read(
    classified, monkeypatch, threshold, expected
):
    found = []

    def spy(store, rows):
        found.extend(rows)
        return read_evidence(store, rows)

    monkeypatch.setattr(semantics, "read_evidence", spy)
    said = read(classified, [0, 1], word_threshold=threshold, spoken={"dog"})
    assert said.phrases == [["car"], ["car"]]
    assert found == expected


def test_what_was_not_seen_says_nothing_whatever_the_threshold(classified):
    found = read(classified, [1], word_threshold=0.0, spoken={"dog", "mountain", "hulk"})
    assert found.phrases == [["car", "dog", "hulk"]]


def test_classes_are_added_up_to_a_number_of_phrases(classified, monkeypatch):
    monkeypatch.setattr(semantics, "MOST", 2)
    assert read(classified, [0], spoken={"dog", "alp"}).phrases == [["car", "dog"]]
