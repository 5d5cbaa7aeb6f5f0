"""A similarity, taken apart and put together again."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.explain import explain
from trainer.lexicon import stem
from trainer.run import load_run
from weaksup.errors import DataError

SENTENCE = "A cat and a dog, kept1 zeppelin"


@pytest.fixture
def trained(world, tiny, tmp_path):
    def make(model, **settings):
        folder = tmp_path / model
        world.train(tiny(model, epochs=1, **settings), folder)
        return load_run(folder), world.store()

    return make


@pytest.mark.parametrize("model", ["a3vse", "vsepp", "vse-infty", "cca"])
def test_the_parts_sum_to_the_similarity_that_is_searched_by(trained, model):
    run, store = trained(model)
    for index in range(0, len(store), 5):
        found = explain(run, store, index, SENTENCE, top=5)
        pair = run.encode_images(store, np.array([index])) @ run.encode_texts([SENTENCE]).T
        assert found.similarity == pytest.approx(float(pair[0, 0]), abs=1e-5)
        parts = sum(part.share * part.cosine for part in found.parts)
        assert parts == pytest.approx(found.similarity, abs=1e-5)
        assert found.regions.sum() == pytest.approx(1, abs=1e-5)
        regions = min(int(np.diff(store.offsets)[index]), run.max_regions)
        assert found.regions.shape == (regions,)
        assert sum(word.weight for word in found.words) == pytest.approx(1, abs=1e-5)


def test_words_are_those_of_the_sentence(trained):
    run, store = trained("a3vse")
    found = explain(run, store, 0, SENTENCE, top=5)
    words = ["a", "cat", "and", "a", "dog", "kept1", "zeppelin"]
    assert [word.text for word in found.words] == words
    assert [word.text for word in found.words if not word.known] == ["zeppelin"]
    # No concept of the world is called so.
    assert "zeppelin" in found.unsupported
    assert not {"cat", "dog"} & set(found.unsupported)


def test_evidence_is_what_the_store_says_of_the_image(trained):
    run, store = trained("a3vse")
    for index in range(len(store)):
        rows = slice(store.offsets[index], store.offsets[index + 1])
        shown = {store.objects[row] for row in store.region_objects[rows] if row >= 0}
        words = {stem(word) for name in shown for word in name.split()}
        colours = {
            store.attributes[row] for row in store.region_attributes[rows].ravel() if row >= 0
        }
        found = explain(run, store, index, "a cat", top=99).evidence
        assert {stem(each.text) for each in found} <= words | {stem(word) for word in colours}
        assert all(0 < each.sure <= 1 and each.standing > 0 for each in found)
        assert all(each.said == (each.text == "cat") for each in found)
        assert [each.standing for each in found] == sorted(
            (each.standing for each in found), reverse=True
        )


def test_towers_without_a_share_are_not_told(trained):
    run, store = trained("a3vse", fusion__concepts=0)
    found = explain(run, store, 0, "a cat", top=5)
    hubness = ["image's hubness", "sentence's hubness"]
    assert [part.name for part in found.parts] == ["network", "linear", *hubness]
    assert found.evidence == ()


def test_a_sentence_without_words(trained):
    run, store = trained("vsepp")
    found = explain(run, store, 0, "!!", top=5)
    assert [(word.text, word.known) for word in found.words] == [("!!", False)]


def test_an_unreadable_image_has_nothing_to_explain(world, tiny, tmp_path):
    changed = world.change("test", readable=lambda row: False)
    changed.train(tiny("cca"), tmp_path / "run")
    store = changed.store()
    index = store.index(min(changed.ids("test")))
    with pytest.raises(DataError, match="could not be read"):
        explain(load_run(tmp_path / "run"), store, index, "a cat", top=5)
