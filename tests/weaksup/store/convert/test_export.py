"""What a precomp folder holds, against a naive reading of store and corpus."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaksup.errors import DataError, UsageError
from weaksup.store import open_store
from weaksup.store.convert.plan import plan_precomp
from weaksup.store.convert.precomp_writer import FeatureStatistics, one_line, write_precomp
from weaksup.types import Annotations, CaptionedImage, Corpus

UNREADABLE = (3, 10)  # of the example's images, in every seven


@pytest.fixture
def store(make_example, tmp_path):
    return open_store(make_example(images=14, slots=0).write(tmp_path / "regions.h5"))


@pytest.fixture
def corpus(store):
    """Train: 0..5, val: 6..9 with 4 to 7 captions, test: 10..13 with 5 each."""
    splits = ["train"] * 6 + ["val"] * 4 + ["test"] * 4
    counts = [5] * 6 + [4, 5, 6, 7] + [5] * 4
    images = tuple(
        CaptionedImage(name, tuple(f"Word {name[-9:-6]} no {k}." for k in range(count)), split)
        for name, split, count in zip(store.ids, splits, counts, strict=True)
    )
    return Corpus(images, "captions.csv", "table", "f" * 64)


def annotate(corpus, kept):
    return Annotations(
        ratio=0.5,
        unit="caption",
        strategy="random",
        seed=0,
        captions=corpus.source,
        fingerprint=corpus.fingerprint,
        annotated=tuple(kept),
        unannotated=(),
        captions_kept=kept,
    )


def write(folder, store, plan, **changes):
    arguments = {"max_regions": 36, "standardize": False, "tokenize": str.split, **changes}
    return write_precomp(folder, store, plan, **arguments)


def lines(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_every_row_is_its_images_regions_padded_with_zeros(store, corpus, tmp_path):
    report = write(tmp_path / "p", store, plan_precomp(corpus, store, None, captions_per_image=5))
    assert [split.name for split in report.splits] == ["train", "dev", "test"]
    by_id = {image.id: image for image in corpus.images}
    for split in report.splits:
        features = np.load(tmp_path / f"p/{split.name}_ims.npy", mmap_mode="r")
        ids = lines(tmp_path / f"p/{split.name}_ids.txt")
        assert features.dtype == np.float32
        assert features.shape == (len(ids), 4, store.feature_size)
        lengths = np.load(tmp_path / f"p/{split.name}_lens.npy")
        for row, name in enumerate(ids):
            own = store.regions(store.index(name)).features
            assert lengths[row] == len(own)
            assert np.array_equal(features[row, : len(own)], own)
            assert not features[row, len(own) :].any()
        said = [caption for name in ids for caption in by_id[name].captions[:5]]
        assert lines(tmp_path / f"p/{split.name}_caps.txt") == said


def test_val_and_test_images_have_exactly_so_many_captions(store, corpus):
    plan = plan_precomp(corpus, store, None, captions_per_image=5)
    train, dev, test = plan.splits
    assert [image.id for image in dev.images] == store.ids[7:10]
    assert {len(image.captions) for image in dev.images} == {5}
    assert [image.id for image in test.images] == store.ids[11:14]
    assert len(train.images) == 5
    assert not train.row_per_caption
    notes = "\n".join(plan.notes)
    assert "dev: 1 image with fewer than 5 captions left out" in notes
    assert "dev: 2 images have more than 5 captions: the rest is cut" in notes
    assert "test: 1 image could not be read: left out" in notes
    assert "dev: it has 15 captions" in notes


def test_train_holds_the_kept_captions_alone(store, corpus, tmp_path):
    kept = {store.ids[4]: (3, 0), store.ids[1]: (2,)}
    plan = plan_precomp(corpus, store, annotate(corpus, kept), captions_per_image=5)
    write(tmp_path / "p", store, plan)
    by_id = {image.id: image for image in corpus.images}
    one, four = by_id[store.ids[1]], by_id[store.ids[4]]
    # Uneven: a row a caption, so that the tools take every caption with the row beside it.
    assert lines(tmp_path / "p/train_ids.txt") == [one.id, four.id, four.id]
    assert lines(tmp_path / "p/train_caps.txt") == [
        one.captions[2],
        four.captions[0],
        four.captions[3],
    ]
    features = np.load(tmp_path / "p/train_ims.npy")
    assert np.array_equal(features[1], features[2])
    words = json.loads((tmp_path / "p/p_vocab.json").read_text())["word2idx"]
    assert list(words) == ["<pad>", "<start>", "<end>", "<unk>"]  # nothing is said four times


def test_the_vocabulary_has_the_words_that_training_captions_say_four_times(
    store, corpus, tmp_path
):
    plan = plan_precomp(corpus, store, None, captions_per_image=5)
    report = write(tmp_path / "p", store, plan)
    vocabulary = json.loads(report.vocabulary.read_text())
    counts = Counter(
        word
        for image in plan.splits[0].images
        for caption in image.captions
        for word in caption.lower().split()
    )
    expected = {word for word, count in counts.items() if count >= 4}
    assert "no" in expected
    assert set(vocabulary["word2idx"]) == {"<pad>", "<start>", "<end>", "<unk>", *expected}
    assert vocabulary["idx"] == len(vocabulary["word2idx"]) == report.words
    for word, index in vocabulary["word2idx"].items():
        assert vocabulary["idx2word"][str(index)] == word


def test_standardised_by_the_training_images_that_are_written(store, corpus, tmp_path):
    kept = {store.ids[0]: (0, 1, 2, 3, 4), store.ids[2]: (0, 1, 2, 3, 4)}
    plan = plan_precomp(corpus, store, annotate(corpus, kept), captions_per_image=5)
    write(tmp_path / "p", store, plan, standardize=True)
    training = np.concatenate([store.regions(i).features for i in (0, 2)]).astype(np.float64)
    mean, std = training.mean(0), training.std(0)
    features = np.load(tmp_path / "p/dev_ims.npy")
    lengths = np.load(tmp_path / "p/dev_lens.npy")
    for row, name in enumerate(lines(tmp_path / "p/dev_ids.txt")):
        own = (store.regions(store.index(name)).features - mean) / std
        assert np.allclose(features[row, : len(own)], own, atol=1e-4)
        assert not features[row, lengths[row] :].any()
    saved = np.load(tmp_path / "p/feature_statistics.npz")
    assert np.allclose(saved["mean"], mean, atol=1e-6)
    assert np.allclose(saved["std"], std, atol=1e-6)


def test_a_constant_channel_is_not_divided_by_nothing(make_example, tmp_path):
    example = make_example(images=3)
    for item in example.items:
        if item.regions is not None:
            item.regions.features[:, 0] = 0.1
    store = open_store(example.write(tmp_path / "regions.h5"))
    statistics = FeatureStatistics.measure(store, np.array([0, 1, 2]), max_regions=36)
    assert statistics.std[0] == 1
    assert np.allclose(statistics.apply(store.regions(0).features)[:, 0], 0, atol=1e-3)


def test_the_first_regions_are_taken(store, corpus, tmp_path):
    plan = plan_precomp(corpus, store, None, captions_per_image=5)
    report = write(tmp_path / "p", store, plan, max_regions=2)
    assert {split.regions for split in report.splits} == {2}
    features = np.load(tmp_path / "p/train_ims.npy")
    assert np.array_equal(features[1], store.regions(1).features[:2])


def test_what_is_there_is_replaced_only_if_that_is_wanted(store, corpus, tmp_path):
    plan = plan_precomp(corpus, store, None, captions_per_image=5)
    write(tmp_path / "p", store, plan)
    with pytest.raises(UsageError, match="holds precomputed features already"):
        write(tmp_path / "p", store, plan)
    smaller = replace(plan, splits=plan.splits[:1])
    write(tmp_path / "p", store, smaller, overwrite=True, max_regions=1)
    assert not (tmp_path / "p/dev_ims.npy").exists()
    assert not (tmp_path / "p/train_lens.npy").exists()
    assert np.load(tmp_path / "p/train_ims.npy").shape[1] == 1


def test_wrong_annotations_are_refused(store, corpus):
    good = annotate(corpus, {store.ids[1]: (0,)})
    plan_precomp(corpus, store, good, captions_per_image=5)
    for wrong, message in (
        (replace(good, fingerprint="0" * 64), "made from other captions"),
        (annotate(corpus, {store.ids[7]: (0,)}), "the train split"),
        (annotate(corpus, {store.ids[1]: (5,)}), "the train split"),
    ):
        with pytest.raises(DataError, match=message):
            plan_precomp(corpus, store, wrong, captions_per_image=5)


@given(st.text())
def test_a_caption_is_one_line_however_it_is_read(text):
    line = one_line(text)
    assert len(f"{line}\n".splitlines()) == 1
    assert "".join(line.split()) == "".join(text.split())


def test_features_that_are_damaged_are_not_standardised(store, corpus, tmp_path):
    with h5py.File(store.path, "r+") as file:
        file["region/feature"][0] = np.nan
    damaged = open_store(store.path)
    plan = plan_precomp(corpus, damaged, None, captions_per_image=5)
    with pytest.raises(DataError, match="not finite: it is damaged"):
        write(tmp_path / "p", damaged, plan, standardize=True)
