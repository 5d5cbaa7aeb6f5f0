from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from trainer import load_run
from trainer.approximate import available
from trainer.index import build_index, extend_index, has_index, open_index, write_index
from weaksup.corpora import write_annotations
from weaksup.errors import DataError
from weaksup.store import open_store
from weaksup.types import STATUS_UNREADABLE

needs_faiss = pytest.mark.skipif(not available(), reason="faiss is not installed")


@pytest.fixture
def run(world, tiny, tmp_path):
    folder = tmp_path / "run"
    world.train(tiny("a3vse", epochs=1), folder)
    write_annotations(world.folder / "annotations.json", world.annotations())
    return load_run(folder)


@pytest.fixture
def other(world):
    """Four images in another store: two of the same names, one that cannot be read."""
    changed = world.change(
        "val", id=lambda row: f"new/{row.id}", readable=lambda row: "0" not in row.id
    )
    return changed.store()


def test_search_without_an_index_ranks_the_runs_own_store(world, run):
    store, sentence = world.store(), "a cat and a dog"
    scores = run.encode_images(store) @ run.encode_texts([sentence])[0]
    order = np.argsort(-scores, kind="stable")[:5]
    hits = run.search(sentence, top=5)
    assert [hit.image for hit in hits] == [store.ids[n] for n in order]
    np.testing.assert_allclose([hit.score for hit in hits], scores[order], rtol=1e-4)
    assert len(run.search(sentence, top=1000)) == len(store)


def test_an_index_gives_what_search_gives_without_one(world, run):
    expected = run.search("a man and a car"), run.search(image=world.rows[2].id)
    write_index(build_index(run, world.store()), run)
    again = load_run(run.folder)
    assert has_index(again)
    assert isinstance(again.index.images.rows, np.memmap)
    found = again.search("a man and a car"), again.search(image=world.rows[2].id)
    for one, two in zip(expected, found, strict=True):
        assert [hit.image for hit in one] == [hit.image for hit in two]
    assert world.rows[2].id not in {hit.image for hit in found[1]}


def test_the_captions_are_the_kept_ones_and_no_other(world, run):
    index = write_index(build_index(run, world.store()), run)
    kept = {(row.id, row.captions[place]) for row in world.rows for place in row.kept}
    assert {(item.image, item.caption) for item in index.known} == kept
    run.__dict__.pop("index", None)
    place = index.find(world.rows[0].id)
    scores = index.captions.rows @ index.images.rows[place]
    hits = run.search_captions(world.rows[0].id, top=3)
    assert hits[0].caption == index.known[int(scores.argmax())].caption
    assert len(hits) == 3


def test_captions_that_are_gone_or_changed_are_left_out_and_said(world, run):
    captions = world.captions()
    captions.write_text(captions.read_text() + "more.jpg,one more,train\n")
    index = build_index(run, world.store())
    assert not index.known
    assert "is not what the run was trained on" in index.notes[0]
    captions.unlink()
    assert "the index has no captions" in build_index(run, world.store()).notes[0]
    index = write_index(index, run)
    assert index.captions.rows.shape == (0, index.images.rows.shape[1])


def test_new_images_are_appended_and_known_ones_stay(world, run, other):
    before = write_index(build_index(run, world.store()), run)
    grown = extend_index(before, run, other)
    readable = [n for n, status in enumerate(other.status) if status != STATUS_UNREADABLE]
    new = [n for n in readable if other.ids[n].startswith("new/")]
    assert 0 < len(new) < len(readable) < len(other)
    assert any("are in the index already" in note for note in grown.notes)
    assert any("could not be read" in note for note in grown.notes)
    after = write_index(grown, run)
    assert list(after.ids) == [*before.ids, *(other.ids[n] for n in new)]
    np.testing.assert_array_equal(after.images.rows[: len(before)], before.images.rows)
    np.testing.assert_allclose(
        after.images.rows[len(before) :], run.encode_images(other, new), atol=1e-6
    )
    assert [source.images for source in after.sources] == [len(before), len(new)]
    assert len(extend_index(after, run, other)) == len(after)


def test_a_store_of_another_kind_is_refused(world, run, other):
    index = build_index(run, world.store())
    other.plan = other.plan.__class__(
        **{**other.plan.__dict__, "provenance": other.provenance.__class__("x", "0" * 64, {})}
    )
    with pytest.raises(DataError, match="differ from those of the run run in detector"):
        extend_index(index, run, other)


def test_features_that_are_damaged_are_not_blamed_on_the_model_alone(world, run):
    path = world.store().path
    with h5py.File(path, "r+") as file:
        file["region/feature"][0] = np.nan
    with pytest.raises(DataError, match="1 image are not finite") as caught:
        build_index(run, open_store(path))
    assert "the region store is damaged" in caught.value.hint


def test_an_index_of_other_weights_is_refused(world, run, tiny):
    write_index(build_index(run, world.store()), run)
    vocabulary = run.folder / "vocabulary.json"
    content = json.loads(vocabulary.read_text())
    content["words"].reverse()
    vocabulary.write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        load_run(run.folder).search("a dog")
    assert "of other weights" in error.value.message
    assert "weaksup index" in error.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.json", "{"),
        ("index.json", '{"format": "weaksup.index", "version": 1}'),
        ("index.json", '{"format": "weaksup.index", "version": 2}'),
        ("images.json", "[]"),
        ("captions.json", "7"),
        ("images.npy", "rubbish"),
        ("captions.npy", ""),
    ],
)
def test_damaged_files_are_named(world, run, name, content):
    write_index(build_index(run, world.store()), run)
    (run.folder / "index" / name).write_text(content)
    with pytest.raises(DataError, match=name) as error:
        open_index(run)
    assert error.value.hint == "run `weaksup index` again"


def test_writing_that_fails_leaves_the_index_that_was_there(world, run, monkeypatch):
    index = write_index(build_index(run, world.store()), run)

    def full(*rest, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.index._write_json", full)
    with pytest.raises(DataError, match="No space left"):
        write_index(index, run)
    assert len(open_index(run)) == len(index)
    assert not [path for path in run.folder.iterdir() if path.name.startswith(".index")]


@needs_faiss
def test_approximate_search_is_scored_exactly(world, run):
    exact = build_index(run, world.store(), kind="exact")
    hnsw = write_index(build_index(run, world.store(), kind="hnsw"), run)
    assert hnsw.approximate is not None
    query = run.encode_texts(["a man and a traffic light"])[0]
    for image in (False, True):
        one, two = (i.search(query, top=6, image=image) for i in (exact, hnsw))
        assert [hit.image for hit in one] == [hit.image for hit in two]
        np.testing.assert_allclose(
            [hit.score for hit in one], [hit.score for hit in two], rtol=1e-5
        )
    assert len(extend_index(hnsw, run, world.store())) == len(hnsw)


def test_without_faiss_all_images_are_looked_at_and_that_is_said(world, run, monkeypatch):
    monkeypatch.setattr("trainer.approximate.EXACT_UNTIL", 3)
    monkeypatch.setattr("trainer.index.available", lambda: False)
    index = build_index(run, world.store())
    assert index.kind == "exact"
    assert any("pip install 'weaksup[search]'" in note for note in index.notes)


def test_one_of_text_and_image_is_searched_for(run):
    for words in ({}, {"text": "a", "image": "b"}):
        with pytest.raises(ValueError, match="a text or for an image"):
            run.search(**words)
    with pytest.raises(DataError, match=r"has no image nowhere\.jpg"):
        run.search(image="nowhere.jpg")
