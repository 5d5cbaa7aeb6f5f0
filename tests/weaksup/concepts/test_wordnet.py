"""WordNet, present and absent."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from weaksup.concepts import ATTRIBUTE, OBJECT, WORDNET_NOTICE, build_vocabulary
from weaksup.concepts.wordnet import WordNet, find_wordnet


def test_first_sense(wordnet: WordNet) -> None:
    couch = wordnet.meaning("couch", OBJECT)
    assert couch is not None
    assert couch.synonyms == ("sofa", "lounge")
    assert couch.hypernyms[:2] == ("seat", "furniture")
    assert "entity" not in couch.hypernyms


@pytest.mark.parametrize(
    ("name", "hypernym"),
    [("dog", "canine"), ("kite", "plaything"), ("hot dog", "sandwich"), ("remote", "device")],
)
def test_a_sense_that_a_camera_can_see(wordnet: WordNet, name: str, hypernym: str) -> None:
    meaning = wordnet.meaning(name, OBJECT)
    assert meaning is not None
    assert hypernym in meaning.hypernyms


def test_a_synonym_means_the_same_first(wordnet: WordNet) -> None:
    car = wordnet.meaning("car", OBJECT)
    assert car is not None
    assert "automobile" in car.synonyms
    assert "machine" in car.shared
    assert "machine" not in car.synonyms


def test_an_unknown_compound_is_a_kind_of_its_head(wordnet: WordNet) -> None:
    plant = wordnet.meaning("potted plant", OBJECT)
    assert plant is not None
    assert plant.synonyms == ()
    assert plant.hypernyms[0] == "plant"


def test_unknown_names_and_attributes(wordnet: WordNet) -> None:
    assert wordnet.meaning("zzgrmbl", OBJECT) is None
    large = wordnet.meaning("large", ATTRIBUTE)
    assert large is not None
    assert large.synonyms == ("big",)
    assert large.hypernyms == ()


IN_ORDER = """
from weaksup.concepts import build_vocabulary
from weaksup.concepts.words import class_words
from weaksup.concepts.wordnet import find_wordnet
things = ["chain saw", "missile", "paintbrush", "power drill", "scoreboard", "jean", "dog"]
print(class_words(things, find_wordnet()), build_vocabulary(things, []).concepts)
"""


@pytest.mark.usefixtures("wordnet")
def test_every_process_has_the_same_order():
    """A store is gone on with, and put together of shards, by processes with equal words."""
    said = {
        subprocess.run(
            [sys.executable, "-c", IN_ORDER],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(said) == 1


def test_a_vocabulary_with_it(wordnet: WordNet) -> None:
    vocabulary = build_vocabulary(["couch", "bicycle", "motorcycle", "auto", "car"], ["grey"])
    synonyms = {concept.name: concept.synonyms for concept in vocabulary.concepts}
    assert "sofa" in synonyms["couch"]
    assert "bike" not in synonyms["bicycle"] + synonyms["motorcycle"]
    assert "auto" not in synonyms["car"]  # a concept of its own here
    assert "gray" in synonyms["grey"]
    assert vocabulary.sources["wordnet"] == wordnet.version


@pytest.mark.usefixtures("no_wordnet")
def test_a_vocabulary_without_it() -> None:
    assert find_wordnet() is None
    vocabulary = build_vocabulary(["couch"], ["grey"])
    assert [(c.synonyms, c.hypernyms) for c in vocabulary.concepts] == [((), ()), ((), ())]
    assert vocabulary.sources["wordnet"] is None


def test_the_notice_names_both_remedies() -> None:
    assert "python -m nltk.downloader wordnet" in WORDNET_NOTICE
    assert "apt-get install wordnet-base" in WORDNET_NOTICE
