"""The extraction loop with a real ONNX network: order, names, resuming, equal bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from weaksup import attributes
from weaksup.concepts import another_store, read_concepts
from weaksup.detectors.base import Detections
from weaksup.detectors.feature_model import OnnxFeatureModel
from weaksup.detectors.onnx import OnnxDetector
from weaksup.errors import DataError, UsageError
from weaksup.extract import ATTRIBUTE_SLOTS, extract
from weaksup.images import decode, list_images
from weaksup.store import open_store
from weaksup.types import Image, Provenance


@pytest.fixture
def detector(tiny_detector):
    return OnnxDetector(tiny_detector)


class Batched:
    """A detector that must see whole batches, and whose result depends on the batch."""

    def __init__(self, inner):
        self.inner = inner
        self.objects, self.attributes = inner.objects, inner.attributes
        self.feature_size = inner.feature_size
        self.provenance = inner.provenance
        self.batches = []

    def detect(self, images):
        self.batches.append([image.id for image in images])
        return [
            replace(found, features=found.features + np.float32(len(images)))
            for found in self.inner.detect(images)
        ]


class WithAttributes:
    """A detector that names two attributes of its own, one of them twice."""

    concurrent = True
    objects = ("dog", "dogs", "cat")
    attributes = ("red", "shiny", "reds")
    feature_size = 1
    provenance = Provenance("test", "0" * 64, {})

    def detect(self, images):
        return [
            Detections(
                boxes=np.array([[0, 0, 9, 9], [1, 1, 4, 4]], np.float32),
                features=np.ones((2, 1), np.float32),
                scores=np.array([1, 0.5], np.float32),
                objects=np.array([-1, 1], np.int32),
                attributes=np.array([[-1, -1, -1], [-1, 1, 0]], np.int32),
            )
            for _ in images
        ]


def run(photos, tmp_path, detector, name="regions.h5", **options):
    out = tmp_path / name
    return extract(
        list_images([photos]),
        detector=detector,
        out=out,
        **{"batch_size": 4, "concepts": tmp_path / f"{name}.json", **options},
    )


def contents(path):
    store = open_store(path)
    rows = [store.regions(at) for at in range(len(store))]
    return [
        (
            image,
            r.boxes.tobytes(),
            r.features.tobytes(),
            r.scores.tobytes(),
            r.objects.tobytes(),
            r.attributes.tobytes(),
        )
        for image, r in zip(store.ids, rows, strict=True)
    ]


def test_the_store_holds_what_the_detector_says(photos, tmp_path, detector):
    report = run(photos, tmp_path, detector)
    store = open_store(report.store)
    assert store.ids == [image for image, _ in list_images([photos])]
    assert store.objects == ["person", "traffic light", "dog"]
    assert store.attributes == list(attributes.ATTRIBUTES)
    for at, name in enumerate(store.ids):
        if name == "broken.jpg":
            assert store.status[at] == 1
            continue
        pixels, size = decode(photos / name)
        (found,) = detector.detect([Image(name, pixels, size)])
        rows = store.regions(at)
        height, width = size
        assert tuple(store.sizes[at]) == size
        np.testing.assert_allclose(
            rows.boxes, found.boxes / [width, height, width, height], rtol=1e-6
        )
        assert rows.boxes[0].tolist() == [0, 0, 1, 1]
        assert (rows.features == found.features.astype(np.float16)).all()
        assert (rows.objects == found.objects).all()
        assert rows.attributes.shape == (len(found.boxes), ATTRIBUTE_SLOTS)
        assert (rows.attributes == attributes.describe(pixels, found.boxes)).all()


def test_the_report_counts_and_names(photos, tmp_path, detector):
    report = run(photos, tmp_path, detector)
    store = open_store(report.store)
    assert (report.images, report.done_before) == (11, 0)
    assert report.regions == len(store.region_objects)
    assert [name for name, _ in report.unreadable] == ["broken.jpg"]
    assert report.unreadable[0][1]
    counts = {name: count for kind, name, count in report.counts if kind == "object"}
    dogs = store.region_objects == store.objects.index("dog")
    sure = store.region_scores >= 0.2
    assert counts.get("dog", 0) == np.count_nonzero(dogs & sure)
    concepts = json.loads(report.concepts.read_text())["concepts"]
    assert {c["name"]: c["regions"] for c in concepts if c["kind"] == "object"} == {
        "person": 0,
        "traffic light": 0,
        "dog": 0,
        **counts,
    }


class Unsure:
    """A detector that fills up with a guess of just below the threshold."""

    concurrent = True
    objects = ("dog", "cat")
    attributes = ("red", "blue")
    feature_size = 1
    provenance = Provenance("test", "0" * 64, {"score_threshold": 0.2})

    def detect(self, images):
        return [
            Detections(
                boxes=np.array([[0, 0, 9, 9], [1, 1, 4, 4], [2, 2, 5, 5]], np.float32),
                features=np.ones((3, 1), np.float32),
                # 0.2 in float16 is 0.19995: it is at the threshold for all that.
                scores=np.array([1, 0.2, 0.19], np.float32),
                objects=np.array([-1, 0, 1], np.int32),
                attributes=np.array([[0], [1], [1]], np.int32),
            )
            for _ in images
        ]


def test_guesses_that_fill_up_do_not_count(photos, tmp_path):
    report = run(photos, tmp_path, Unsure())
    assert set(report.counts) == {
        *(("object", "dog", 10), ("attribute", "red", 10), ("attribute", "blue", 10))
    }
    assert open_store(report.store).region_objects.tolist().count(1) == 10


@pytest.mark.parametrize("workers", [1, 5])
def test_the_bytes_do_not_depend_on_the_number_of_threads(photos, tmp_path, detector, workers):
    first = run(photos, tmp_path, detector, "a.h5", workers=2)
    second = run(photos, tmp_path, detector, "b.h5", workers=workers)
    assert contents(first.store) == contents(second.store)


def test_shards_hold_the_same_bytes(photos, tmp_path, detector):
    whole = run(photos, tmp_path, detector)
    shards = run(photos, tmp_path, detector, "shards", shards=2)
    assert sorted(path.name for path in shards.store.iterdir()) == [
        "regions-00000-of-00002.h5",
        "regions-00001-of-00002.h5",
    ]
    assert contents(shards.store) == contents(whole.store)
    assert shards.images == whole.images


def test_batches_are_the_groups_of_the_store(photos, tmp_path, detector):
    batched = Batched(detector)
    report = run(photos, tmp_path, batched)
    ids = [image for image, _ in list_images([photos])]
    groups = [[i for i in ids[at : at + 4] if i != "broken.jpg"] for at in (0, 4, 8)]
    assert batched.batches == groups
    assert report.images == 11
    assert open_store(report.store).provenance.settings["batch_size"] == 4


class StopNowError(Exception):
    pass


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("shards", [1, 2])
def test_an_interrupted_run_goes_on(photos, tmp_path, detector, batched, shards):
    make = (lambda: Batched(detector)) if batched else (lambda: detector)
    whole = run(photos, tmp_path, make(), "whole")

    def stop(done, total, fresh):
        if done >= 4:
            raise StopNowError

    with pytest.raises(StopNowError):
        run(photos, tmp_path, make(), "again", progress=stop, shards=shards)
    if shards == 1:
        assert not (tmp_path / "again").exists()
    seen = []
    report = run(
        photos, tmp_path, make(), "again", progress=lambda *at: seen.append(at), shards=shards
    )
    assert report.done_before == 4
    assert seen == [(8, 11, 4), (11, 11, 7)]
    assert contents(report.store) == contents(whole.store)
    assert [name for name, _ in report.unreadable] == ["broken.jpg"]


def stop_at(number):
    """A progress function that ends the run once so many images are done."""

    def stop(done, total, fresh):
        if done >= number:
            raise StopNowError

    return stop


def test_an_interrupted_overwriting_of_shards_goes_on(photos, tmp_path, tiny_detector):
    run(photos, tmp_path, OnnxDetector(tiny_detector), "shards", shards=3)
    other = OnnxDetector(tiny_detector, score_threshold=0.3)
    again = {"name": "shards", "shards": 3, "overwrite": True}
    for at in (8, 11):
        # In the second shard, and then in the third.
        with pytest.raises(StopNowError):
            run(photos, tmp_path, other, **again, progress=stop_at(at))
        with pytest.raises(DataError, match="is being replaced"):
            open_store(tmp_path / "shards")
    report = run(photos, tmp_path, other, **again)
    assert report.done_before == 11
    assert contents(report.store) == contents(run(photos, tmp_path, other, "whole").store)
    assert len(list(report.store.iterdir())) == 3
    # That was the end of it: the next one is a new one, and so is one of another detector.
    assert run(photos, tmp_path, other, **again).done_before == 0
    with pytest.raises(StopNowError):
        run(photos, tmp_path, other, **again, progress=stop_at(8))
    assert run(photos, tmp_path, OnnxDetector(tiny_detector), **again).done_before == 0


def test_until_the_first_shard_is_replaced_the_old_store_stays(photos, tmp_path, detector):
    old = run(photos, tmp_path, detector, "shards", shards=2)
    with pytest.raises(StopNowError):
        run(photos, tmp_path, detector, "shards", shards=2, overwrite=True, progress=stop_at(4))
    assert len(open_store(old.store)) == 11


def test_shards_in_another_number_are_refused_or_replaced(photos, tmp_path, detector):
    with pytest.raises(StopNowError):
        run(photos, tmp_path, detector, "shards", shards=2, progress=stop_at(8))
    # One finished shard and one journal.
    before = sorted(path.name for path in (tmp_path / "shards").iterdir())
    assert len(before) == 2
    with pytest.raises(UsageError, match="a store in 2 files, not 3") as caught:
        run(photos, tmp_path, detector, "shards", shards=3)
    assert "--overwrite" in caught.value.hint
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == before
    report = run(photos, tmp_path, detector, "shards", shards=3, overwrite=True)
    assert contents(report.store) == contents(run(photos, tmp_path, detector, "whole").store)
    assert {path.name[-11:] for path in report.store.iterdir()} == {"of-00003.h5"}


def test_a_finished_store_is_left_alone_with_its_concepts(photos, tmp_path, detector):
    first = run(photos, tmp_path, detector)
    changed = first.store.stat().st_mtime_ns
    content = json.loads(first.concepts.read_text())
    content["concepts"][0]["captions"] = 7
    kept = json.dumps(content)
    first.concepts.write_text(kept)
    again = run(photos, tmp_path, detector)
    assert again.done_before == again.images == 11
    assert first.store.stat().st_mtime_ns == changed
    assert first.concepts.read_text() == kept
    assert again.counts == first.counts
    assert again.unreadable == first.unreadable


@pytest.mark.parametrize("damage", [None, "{", "[]"])
def test_concepts_that_are_lost_or_damaged_are_written_by_the_next_run(
    photos, tmp_path, detector, damage
):
    first = run(photos, tmp_path, detector)
    text = first.concepts.read_text()
    first.concepts.unlink()
    if damage is not None:
        first.concepts.write_text(damage)
    run(photos, tmp_path, detector)
    assert first.concepts.read_text() == text


@pytest.mark.parametrize("shards", [1, 2])
def test_of_two_stores_that_are_made_in_one_folder_both_have_their_words(
    photos, tmp_path, detector, shards
):
    shared = {"concepts": tmp_path / "concepts.json"}
    words = []

    def another_ends(done, total, fresh):
        if done == 4:
            run(photos, tmp_path, detector, "first.h5", **shared)
            words.append(shared["concepts"].read_bytes())

    options = {"name": "second", "shards": shards, **shared}
    report = run(photos, tmp_path, detector, progress=another_ends, **options)
    assert [shared["concepts"].read_bytes()] == words
    assert another_store(shared["concepts"], report.store) == tmp_path / "first.h5"
    assert (report.images, report.done_before) == (11, 0)
    assert report.concepts == tmp_path / "second.concepts.json"
    assert read_concepts(report.concepts).store == "second"
    assert any(f"those of second are in {report.concepts.name}" in note for note in report.notes)
    # It is found finished, with the words that it has.
    assert run(photos, tmp_path, detector, **options) == replace(report, done_before=11)


@pytest.mark.parametrize("shards", [1, 2])
def test_what_was_begun_goes_on_beside_another_store(photos, tmp_path, detector, shards):
    options = {"concepts": tmp_path / "concepts.json"}
    with pytest.raises(StopNowError):
        run(photos, tmp_path, detector, "second", shards=shards, progress=stop_at(4), **options)
    run(photos, tmp_path, detector, "first.h5", **options)
    words = options["concepts"].read_bytes()
    for at in (8, 11):
        with pytest.raises(StopNowError):
            run(
                photos, tmp_path, detector, "second", shards=shards, progress=stop_at(at), **options
            )
        assert options["concepts"].read_bytes() == words
    report = run(photos, tmp_path, detector, "second", shards=shards, **options)
    assert report.done_before == 11
    assert options["concepts"].read_bytes() == words
    with pytest.raises(UsageError, match="holds the words of another store"):
        run(photos, tmp_path, detector, "third", **options)


@pytest.mark.parametrize("shards", [1, 2])
def test_it_says_once_that_nothing_is_in_the_way(photos, tmp_path, tiny_detector, shards):
    opened = []

    def call(detector):
        run(photos, tmp_path, detector, shards=shards, opened=lambda _: opened.append(1))

    call(OnnxDetector(tiny_detector))
    assert len(opened) == 1
    call(OnnxDetector(tiny_detector))  # finished
    assert len(opened) == 2
    with pytest.raises(UsageError, match="was made otherwise"):
        call(OnnxDetector(tiny_detector, score_threshold=0.3))
    assert len(opened) == 2


def test_another_detector_is_refused_unless_it_may_overwrite(photos, tmp_path, tiny_detector):
    first = run(photos, tmp_path, OnnxDetector(tiny_detector))
    first.concepts.write_text("old")
    other = OnnxDetector(tiny_detector, score_threshold=0.3)
    with pytest.raises(UsageError, match="score_threshold"):
        run(photos, tmp_path, other)
    assert first.concepts.read_text() == "old"
    report = run(photos, tmp_path, other, overwrite=True)
    assert report.done_before == 0
    assert report.concepts.read_text() != "old"


def test_a_feature_model_takes_the_place_of_the_detectors_features(
    photos, tmp_path, tiny_detector, tiny_feature_model
):
    detector = OnnxDetector(tiny_detector, with_features=False)
    model = OnnxFeatureModel(tiny_feature_model, size=64)
    report = run(photos, tmp_path, detector, feature_model=model)
    store = open_store(report.store)
    assert store.feature_size == 5
    settings = store.provenance.settings
    assert settings["feature_model"]["name"] == "onnx:tiny_features"
    assert settings["feature_model"]["weights_sha256"] == model.provenance.weights_sha256
    assert settings["feature_model"]["input"]["size"] == [64, 64]
    pixels, size = decode(photos / "0.png")
    picture = Image("0.png", pixels, size)
    (found,) = detector.detect([picture])
    (expected,) = model.pool([picture], [found.boxes])
    got = store.regions(store.index("0.png")).features
    assert (got == expected.features.astype(np.float16)).all()


@pytest.fixture
def classifier(tiny_classifier):
    path, labels = tiny_classifier
    return OnnxFeatureModel(path, size=64, labels=labels)


def test_the_classes_of_a_feature_model_are_in_the_store(photos, tmp_path, detector, classifier):
    report = run(photos, tmp_path, detector, feature_model=classifier)
    store = open_store(report.store)
    assert store.classes == ("golden retriever", "tabby", "boat")
    assert [words[0] for words in store.class_words] == ["retriever", "tabby", "boat"]
    assert store.provenance.settings["feature_model"]["classes"]["output"] == "probabilities"
    firsts = []
    for at, name in enumerate(store.ids):
        if name == "broken.jpg":
            continue
        picture = Image(name, *decode(photos / name))
        (found,) = detector.detect([picture])
        (expected,) = classifier.pool([picture], [found.boxes])
        regions = store.regions(at)
        assert (regions.classes == expected.classes).all()
        assert (regions.class_scores == expected.class_scores.astype(np.float16)).all()
        firsts.append(store.classes[expected.classes[0, 0]])
    assert dict(report.classes) == {name: firsts.count(name) for name in firsts}
    assert [count for _, count in report.classes] == sorted(
        (count for _, count in report.classes), reverse=True
    )


def test_a_store_without_classes_has_the_words_of_its_objects(photos, tmp_path, detector):
    report = run(photos, tmp_path, detector)
    store = open_store(report.store)
    assert (store.classes, report.classes) == ((), ())
    assert store.region_classes.shape == (report.regions, 0)
    assert [words[0] for words in store.object_words] == ["person", "light", "dog"]


def test_words_without_wordnet(photos, tmp_path, detector, classifier, monkeypatch):
    monkeypatch.setenv("WEAKSUP_WORDNET", str(tmp_path))
    store = open_store(run(photos, tmp_path, detector, feature_model=classifier).store)
    assert store.object_words == (("person",), ("light",), ("dog",))
    assert store.class_words == (("retriever",), ("tabby", "cat"), ("boat",))


@pytest.mark.parametrize("shards", [1, 2])
def test_an_interrupted_run_with_classes_goes_on(photos, tmp_path, detector, classifier, shards):
    options = {"feature_model": classifier, "shards": shards}
    whole = run(photos, tmp_path, detector, "whole", **options)

    def stop(done, total, fresh):
        if done >= 4:
            raise StopNowError

    with pytest.raises(StopNowError):
        run(photos, tmp_path, detector, "again", progress=stop, **options)
    report = run(photos, tmp_path, detector, "again", **options)
    assert report.done_before == 4
    first, second = open_store(whole.store), open_store(report.store)
    assert second.region_classes.tobytes() == first.region_classes.tobytes()
    assert second.region_class_scores.tobytes() == first.region_class_scores.tobytes()
    assert contents(second.path) == contents(first.path)
    assert second.fingerprint == first.fingerprint
    assert report.classes == whole.classes


def test_a_users_list_filters_and_renames_labels(photos, tmp_path, detector):
    words = tmp_path / "words.txt"
    words.write_text("puppy\tdog\nperson\nunicorn\n")
    store = open_store(run(photos, tmp_path, detector, concept_list=words).store)
    plain = open_store(run(photos, tmp_path, detector, "plain.h5").store)
    assert set(store.objects) == {"puppy", "person", "unicorn"}
    assert store.attributes == []
    names = [[*s.objects, None] for s in (store, plain)]
    meaning = {"dog": "puppy", "person": "person"}
    assert len(store.region_objects) == len(plain.region_objects)
    for new, old in zip(store.region_objects, plain.region_objects, strict=True):
        assert names[0][new] == meaning.get(names[1][old])
    assert (store.region_attributes == -1).all()


def test_a_detectors_own_attributes_are_used_and_merged(photos, tmp_path):
    store = open_store(run(photos, tmp_path, WithAttributes()).store)
    assert store.objects == ["dog", "cat"]
    regions = store.regions(0)
    assert [store.objects[row] for row in regions.objects[1:]] == ["dog"]
    words = [store.attributes[row] for row in regions.attributes[1] if row >= 0]
    assert words == ["shiny", "red"]
    assert regions.attributes[1].tolist()[2:] == [-1] * (ATTRIBUTE_SLOTS - 2)
    assert "attributes" not in store.provenance.settings


def test_only_unreadable_images(tmp_path, detector):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        (folder / name).write_bytes(b"")
    report = run(folder, tmp_path, detector)
    assert report.unreadable == (("a.png", "the file is empty"), ("b.jpg", "the file is empty"))
    assert report.regions == 0


@pytest.mark.realdata
def test_twenty_photographs(shared, tmp_path):
    images = list_images([shared / "flickr8k" / "images"])[::350]
    report = extract(
        images,
        detector=OnnxDetector(shared / "models" / "yolox_nano.onnx"),
        out=tmp_path / "regions.h5",
        concepts=tmp_path / "concepts.json",
    )
    store = open_store(report.store)
    assert len(store) == len(images) == 20
    assert store.feature_size == 784
    assert report.unreadable == ()
    assert report.counts[0][2] > 10
    assert any(name == "person" for kind, name, _ in report.counts if kind == "object")
    assert np.diff(store.offsets).max() <= 36
