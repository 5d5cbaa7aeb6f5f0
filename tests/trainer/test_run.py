from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from trainer.data import read_regions
from trainer.run import RunDescription, Towers, load_run
from trainer.text import pad
from weaksup.errors import DataError, UsageError
from weaksup.types import Provenance


@pytest.fixture
def run(world, tiny, tmp_path):
    folder = tmp_path / "run"
    world.train(tiny("a3vse", epochs=1), folder)
    return folder


def test_a_run_comes_back_as_it_was_described(world, tiny, run):
    loaded = load_run(run)
    assert loaded.description.config == tiny("a3vse", epochs=1)
    assert loaded.model_name == "a3vse"
    assert loaded.regions == world.store().path
    assert loaded.captions == world.captions()
    assert loaded.vocabulary.words == world.data().vocabulary.words
    assert {path.name for path in run.iterdir()} == {
        "config.json",
        "vocabulary.json",
        "model.safetensors",
    }


def test_embeddings_do_not_depend_on_the_order_or_on_what_is_beside(world, run, monkeypatch):
    loaded, store = load_run(run), world.store()
    rows = np.array([3, 20, 0, 7, 7])
    images = loaded.encode_images(store, rows)
    texts = [caption for row in world.rows for caption in row.captions][:30]
    sentences = loaded.encode_texts(texts)
    # The network, the linear tower, the concept tower; what is missing in length, twice; the
    # correction for hubness.
    assert images.shape == (5, 8 + 4 + 256 + 2 + 2 + 2)
    assert images.dtype == sentences.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(sentences, axis=1), 1, rtol=1e-5)
    monkeypatch.setattr("trainer.run.IMAGE_CHUNK", 2)
    monkeypatch.setattr("trainer.run.TEXT_CHUNK", 4)
    np.testing.assert_allclose(loaded.encode_images(store, rows), images, atol=1e-6)
    np.testing.assert_allclose(loaded.encode_texts(texts[::-1])[::-1], sentences, atol=1e-6)
    assert loaded.encode_texts([]).shape[0] == 0


def test_encoding_leaves_the_mode_and_the_gradients_as_they_were(world, run):
    loaded = load_run(run)
    for mode in (True, False):
        loaded.model.train(mode)
        loaded.encode_texts(["a dog"])
        assert loaded.model.training == mode
    assert torch.is_grad_enabled()


def test_towers_read_as_many_regions_as_they_are_told(world, run):
    loaded, store = load_run(run), world.store()
    rows = np.arange(5)
    one = Towers(
        model=loaded.model, vocabulary=loaded.vocabulary, device=loaded.device, max_regions=1
    )
    assert not np.allclose(one.encode_images(store, rows), loaded.encode_images(store, rows))


def test_only_features_of_the_same_origin_are_taken(world, run):
    loaded = load_run(run)
    loaded.check_store(world.store())
    again, imported = "extract them with the same detector", "was trained on imported features"
    for changed, named, hint in (
        ({"detector": "other"}, "detector", again),
        ({"weights_sha256": "1" * 64}, "weights", again),
        ({"settings": {"feature_model": "x"}}, "feature_model", again),
        ({"settings": dict.fromkeys("edcba", 1)}, "a, b, c and 2 more", again),
        (
            {"settings": dict.fromkeys("edcba", 1), "detector": "x"},
            "detector: [a-z]+, not [a-z]+",
            again,
        ),
        ({"detector": "imported:npz"}, "detector: test, not imported:npz", imported),
        ({"detector": "importedly"}, "detector", again),
    ):
        loaded.description = replace(
            loaded.description,
            provenance=replace(Provenance("test", "0" * 64, {}), **changed),
        )
        with pytest.raises(DataError, match=named) as caught:
            loaded.check_store(world.store())
        assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_missing_or_damaged_file_is_bad_data_and_named(run, name, content):
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        load_run(run)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"format": "other"},
        {"provenance": None},
        {"config": {"model": "none"}},
        {"feature_size": 7},
    ],
)
def test_a_config_of_another_version_or_shape(run, change):
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=r"config\.json"):
        load_run(run)


def test_settings_of_another_version_are_named(run):
    path = run / "config.json"
    content = json.loads(path.read_text())
    content["config"]["loss"]["w_gone"] = 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"does not take: loss\.w_gone\n"):
        load_run(run)


def test_a_vocabulary_of_another_size_is_refused(run):
    (run / "vocabulary.json").write_text('{"words": ["dog"]}')
    with pytest.raises(DataError, match="does not fit"):
        load_run(run)


def test_the_description_is_written_whole(world, run, tmp_path):
    description = RunDescription.read(run)
    beside = tmp_path / "beside"
    beside.mkdir()
    description.write(beside)
    assert (beside / "config.json").read_text() == (run / "config.json").read_text()
    assert not list(beside.glob("*.tmp"))


def noted(folder):
    content = json.loads((folder / "config.json").read_text())
    return [content[name] for name in ("regions", "captions", "annotations")]


def test_a_run_names_what_lies_in_its_store_s_folder_relative_to_itself(run, tmp_path):
    description = replace(
        RunDescription.read(run),
        regions=tmp_path / "home/regions.h5",
        captions=tmp_path / "captions.csv",
        annotations=tmp_path / "home/kept/annotations.json",
    )
    inside, outside = tmp_path / "home/runs/a", tmp_path / "other"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        description.write(folder)
        assert RunDescription.read(folder) == description
    captions = str(tmp_path / "captions.csv")
    assert noted(inside) == ["../../regions.h5", captions, "../../kept/annotations.json"]
    assert noted(outside) == [
        str(tmp_path / "home/regions.h5"),
        captions,
        str(tmp_path / "home/kept/annotations.json"),
    ]
    moved = (tmp_path / "home").rename(tmp_path / "moved")
    assert RunDescription.read(moved / "runs/a").regions == moved / "regions.h5"


@pytest.fixture
def scan(world, tiny, tmp_path):
    world.train(tiny("scan", epochs=1), tmp_path / "scan")
    return load_run(tmp_path / "scan")


def test_pairs_are_scored_alike_in_any_order_and_beside_any_others(world, scan, monkeypatch):
    store, rows = world.store(), np.array([3, 20, 0, 7])
    scan.model.eval()
    texts = [caption for row in world.rows for caption in row.captions][:9]
    scores = scan.pair_scores(store, rows, texts)
    found = scores(np.arange(4), np.arange(9))
    assert (found.shape, found.dtype) == ((4, 9), np.float32)
    with torch.no_grad():
        regions = read_regions(store, rows, max_regions=4)
        expected = scan.model.similarity(
            scan.model.encode_images(regions),
            scan.model.encode_texts(pad([scan.vocabulary.encode(text) for text in texts])),
        )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    monkeypatch.setattr("trainer.run.IMAGE_CHUNK", 3)
    monkeypatch.setattr("trainer.run.TEXT_CHUNK", 2)
    monkeypatch.setattr("trainer.pairs.PAIR_CHUNK", 2)
    other = scan.pair_scores(store, rows[::-1], texts[::-1])
    images, captions = np.array([1, 3, 0, 2, 1]), np.array([8, 0, 4, 4, 2])
    np.testing.assert_allclose(
        other(images, captions), found[::-1, ::-1][np.ix_(images, captions)], atol=1e-5
    )
    np.testing.assert_allclose(
        other.paired(images, captions), found[::-1, ::-1][images, captions], atol=1e-5
    )


def test_copies_of_images_and_sentences_are_known_as_such(world, scan):
    texts = ["a red car", "A red car!", "a man", "neverseenword man", "othernew man"]
    scores = scan.pair_scores(world.store(), np.array([5, 2, 5]), texts)
    assert scores.image_class.tolist() == [0, 1, 0]
    assert scores.caption_class[0] == scores.caption_class[1] != scores.caption_class[2]
    assert scores.caption_class[3] == scores.caption_class[4]  # two unknown words


def test_a_model_without_embeddings_says_so(world, scan):
    assert scan.compares_pairs
    for call in (
        lambda: scan.encode_texts(["a dog"]),
        lambda: scan.encode_images(world.store(), np.arange(2)),
    ):
        with pytest.raises(UsageError, match="no embeddings"):
            call()


def test_a_model_without_fragments_says_so(world, tiny, tmp_path):
    world.train(tiny("cca"), tmp_path / "cca")
    loaded = load_run(tmp_path / "cca")
    assert not loaded.compares_pairs
    with pytest.raises(UsageError, match="does not compare regions with words"):
        loaded.pair_scores(world.store(), np.arange(2), ["a dog"])
