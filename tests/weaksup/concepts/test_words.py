"""The words by which a caption may call a thing, with WordNet and without it."""

from __future__ import annotations

import pytest

from weaksup.concepts.model import OBJECT, Concept
from weaksup.concepts.wordnet import WordNet, find_wordnet
from weaksup.concepts.words import class_names, class_words, object_words, words_of


def of_object(name: str, wordnet: WordNet | None, *aliases: str) -> tuple[str, ...]:
    (words,) = object_words([Concept(name, OBJECT, aliases)], wordnet)
    return words


def of_class(label: str, wordnet: WordNet | None) -> tuple[str, ...]:
    (words,) = class_words([label], wordnet)
    return words


def test_the_nearest_come_first(wordnet: WordNet) -> None:
    words = of_class("golden retriever", wordnet)
    assert words[:4] == ("retriever", "dog", "canine", "canid")
    assert words.index("animal") < words.index("mammal")
    assert of_object("person", wordnet)[:2] == ("person", "individual")


@pytest.mark.parametrize("label", ["golden retriever", "tench, Tinca tinca", "jersey, T-shirt"])
def test_they_are_single_lower_case_words_once(wordnet: WordNet, label: str) -> None:
    words = of_class(label, wordnet)
    assert len(set(words)) == len(words) > 3
    assert all(word.isalpha() and word == word.lower() for word in words)


def naive(wordnet: WordNet, name: str) -> set[str]:
    """The rule written out: the sense's names and those of senses of depth 6 and more above it."""
    sense = wordnet._sense(name, OBJECT)
    assert sense is not None
    above = {other for path in sense.hypernym_paths() for other in path if other != sense}
    names = [*sense.lemma_names()]
    names += [n for other in above if other.min_depth() >= 6 for n in other.lemma_names()]
    english = [n for n in names if not ("_" in n and n[0].isupper())]
    return {n.lower().split("_")[-1] for n in [name.replace(" ", "_"), *english]}


@pytest.mark.parametrize("name", ["dog", "couch", "boat", "traffic light", "hot dog", "bicycle"])
def test_they_are_those_of_the_rule(wordnet: WordNet, name: str) -> None:
    assert set(of_object(name, wordnet)) == {
        word for word in naive(wordnet, name) if word.isalpha()
    }


def test_what_is_near_the_top_is_left_out(wordnet: WordNet) -> None:
    words = of_object("dog", wordnet)
    assert {"animal", "mammal"} < set(words)
    assert not {"organism", "whole", "object", "entity"} & set(words)


def test_the_sense_of_a_class_is_that_of_most_of_its_names(wordnet: WordNet) -> None:
    assert "bird" in of_class("cock, rooster", wordnet)  # a cock alone is another thing
    assert "device" in of_class("mouse, computer mouse", wordnet)
    assert "rodent" in of_class("mouse", wordnet)


def test_names_written_alike_win(wordnet: WordNet) -> None:
    assert "device" in of_class("crane", wordnet)  # and not the constellation Crane


def test_a_compound_that_wordnet_lacks_is_a_kind_of_its_head(wordnet: WordNet) -> None:
    words = of_object("spotted dog", wordnet)
    assert words[0] == "dog"
    assert "canine" in words
    assert of_object("zzgrmbl", wordnet) == ("zzgrmbl",)


def test_the_names_come_before_what_wordnet_says(wordnet: WordNet) -> None:
    assert of_object("dog", wordnet, "pooch", "puppy dog")[:3] == ("dog", "pooch", "canine")


@pytest.mark.usefixtures("no_wordnet")
def test_without_wordnet_the_names_alone() -> None:
    wordnet = find_wordnet()
    assert wordnet is None
    assert of_object("traffic light", wordnet) == ("light",)
    assert of_class("golden retriever", wordnet) == ("retriever",)
    assert of_class("Border collie, sheep dog", wordnet) == ("collie", "dog")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["Recreational Vehicle", "RV", "R.V.", "T-shirt", "4x4", "jack-o'-lantern"], "vehicle rv"),
        (["hunting_dog", "dog", "big dog"], "dog"),
        (["", " "], ""),
    ],
)
def test_the_last_word_of_a_name(names: list[str], words: str) -> None:
    assert words_of(names) == tuple(words.split())


def test_names_of_a_label() -> None:
    assert class_names("tench, Tinca tinca") == ["tench", "Tinca tinca"]
    assert class_names("a ,b,, c") == ["a", "b", "c"]
    assert class_names(",") == [","]
