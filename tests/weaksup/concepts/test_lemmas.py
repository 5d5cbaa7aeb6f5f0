"""Base forms: the traps of plural nouns and comparatives."""

from __future__ import annotations

import pytest

from weaksup.concepts.lemmas import PLURAL_ONLY, Lemmas

SINGULARS = {
    "dogs": "dog",
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "skis": "ski",
    "buses": "bus",
    "dresses": "dress",
    "knives": "knife",
    "leaves": "leaf",
    "mice": "mouse",
    "teeth": "tooth",
    "puppies": "puppy",
    "frisbees": "frisbee",
    "hoodies": "hoodie",  # unknown to the tables
    "taxis": "taxi",
}
UNCHANGED = [
    *("bus", "dress", "grass", "glass", "tennis", "gas", "canvas", "lens", "series", "this", "as"),
    *("sheep", "fish", "dive", "cola", "person", "building", "riding", "left", "its", "was"),
    *sorted(PLURAL_ONLY),
]


@pytest.mark.parametrize(("plural", "singular"), SINGULARS.items())
def test_plurals(lemmas: Lemmas, plural: str, singular: str) -> None:
    assert lemmas.noun(plural) == singular
    assert lemmas.noun(singular) == singular


@pytest.mark.parametrize("word", UNCHANGED)
def test_no_plurals(lemmas: Lemmas, word: str) -> None:
    assert lemmas.noun(word) == word


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("bigger", "big"),
        ("largest", "large"),
        ("older", "old"),
        ("left", "left"),
        ("wooden", "wooden"),
        ("striped", "striped"),
        ("outer", "outer"),
        ("silver", "silver"),
    ],
)
def test_adjectives(lemmas: Lemmas, word: str, base: str) -> None:
    assert lemmas.adjective(word) == base


def test_spelling_is_american_and_leaves_other_words(lemmas: Lemmas) -> None:
    assert [lemmas.spelling(w) for w in ("grey", "tyre", "gray", "dog", "'s")] == [
        "gray",
        "tire",
        "gray",
        "dog",
        "'s",
    ]


def test_parts_of_speech(lemmas: Lemmas) -> None:
    assert lemmas.is_noun("dogs")
    assert not lemmas.is_noun("the")
    assert lemmas.is_adjective("bigger")
    assert not lemmas.is_adjective("dog")
