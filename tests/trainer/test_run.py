from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from trainer.run import RunDescription, Towers, load_run
from weaksup.errors import DataError
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
    for changed, named in (
        ({"detector": "other"}, "detector"),
        ({"weights_sha256": "1" * 64}, "weights"),
        ({"settings": {"feature_model": "x"}}, "feature_model"),
    ):
        loaded.description = replace(
            loaded.description,
            provenance=replace(Provenance("test", "0" * 64, {}), **changed),
        )
        with pytest.raises(DataError, match=named):
            loaded.check_store(world.store())


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


def test_a_vocabulary_of_another_size_is_refused(run):
    (run / "vocabulary.json").write_text('{"words": ["dog"]}')
    with pytest.raises(DataError, match="does not fit"):
        load_run(run)


def test_the_description_is_written_whole(world, run, tmp_path):
    description = RunDescription.read(run)
    description.write(tmp_path)
    assert (tmp_path / "config.json").read_text() == (run / "config.json").read_text()
    assert not list(tmp_path.glob("*.tmp"))
