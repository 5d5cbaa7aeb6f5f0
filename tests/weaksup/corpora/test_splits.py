from __future__ import annotations

from collections import Counter

import pytest

from weaksup.corpora import assign_splits, read_corpus
from weaksup.corpora.splits import hashed_split


def table(write, rows):
    return read_corpus(write("c.csv", "image,caption,split\n" + "\n".join(map(",".join, rows))))


# Computed once; another Python, platform or release must not move images between splits.
@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("0.jpg", "train"),
        ("3.jpg", "val"),
        ("13.jpg", "test"),
        ("a/3.jpg", "test"),
        ("é.jpg", "train"),
    ],
)
def test_hash_is_fixed(name, split):
    assert hashed_split(name) == split


def test_without_splits_they_are_hashed(write):
    corpus = table(write, [(f"{i}.jpg", "x", "") for i in range(2000)])
    assigned = assign_splits(corpus)
    counts = Counter(image.split for image in assigned.images)
    assert 1540 < counts["train"] < 1660
    assert 150 < counts["val"] < 250
    assert 150 < counts["test"] < 250
    assert assigned.fingerprint == corpus.fingerprint
    assert f"{counts['train']} train" in assigned.notes[-1]
    assert assign_splits(assigned) == assigned


def test_an_image_stays_in_its_split_when_others_come(write):
    few = assign_splits(table(write, [(f"{i}.jpg", "x", "") for i in range(50)]))
    many = assign_splits(table(write, [(f"{i}.jpg", "x", "") for i in range(200, -1, -1)]))
    assert set(few.images) <= set(many.images)


def test_named_splits_stay_and_the_rest_is_used_nowhere(write):
    corpus = table(write, [("a", "x", "restval"), ("b", "x", "dev"), ("c", "x", "")])
    assigned = assign_splits(corpus)
    assert [image.split for image in assigned.images] == ["train", "val", None]
    assert assigned.notes == ("1 captioned image in no split, used nowhere, such as c",)
    assert assign_splits(assigned) == assigned


def test_uncaptioned_test_image_gets_no_split_from_a_hash(write):
    corpus = table(write, [("a", "x", ""), ("b", "", "test")])
    assigned = assign_splits(corpus)
    assert assigned.images[0].split is not None
    assert assigned.images[1].split is None
