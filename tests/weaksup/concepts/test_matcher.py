"""Matching against hand-made cases and against a naive reference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from weaksup.concepts import ATTRIBUTE, OBJECT, Concept, English, Matcher, Vocabulary

NAMES = (
    Concept("person", OBJECT),
    Concept("dog", OBJECT),
    Concept("hot dog", OBJECT, aliases=("frank",)),
    Concept("light", OBJECT),
    Concept("traffic light", OBJECT),
    Concept("ski", OBJECT),
    Concept("scissors", OBJECT),
    Concept("glass", OBJECT),
    Concept("wine glass", OBJECT),
    Concept("potted plant", OBJECT),
    Concept("t-shirt", OBJECT),
    Concept("couch", OBJECT, aliases=("sofa",), synonyms=("lounge",)),
    Concept("orange", OBJECT),
    Concept("watch", OBJECT),
    Concept("orange", ATTRIBUTE),
    Concept("red", ATTRIBUTE),
    Concept("grey", ATTRIBUTE),
    Concept("big", ATTRIBUTE),
)


@pytest.fixture(scope="module")
def matcher(english: English) -> Matcher:
    return Matcher(Vocabulary(NAMES), english=english)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two people walk their dogs.", ["person", "dog"]),
        ("The traffic lights are red", ["traffic light", "red"]),
        ("a traffic-light", ["traffic light"]),
        ("traffic and a light", ["light"]),
        ("He eats two Hot Dogs near a dog", ["hot dog", "dog"]),
        ("a frank on a plate", ["hot dog"]),
        ("hot days for a dog", ["dog"]),
        ("a pair of skis and scissors", ["ski", "scissors"]),
        ("a man with glasses", []),
        ("a glass", ["glass"]),
        ("three wine glasses", ["wine glass"]),
        ("potted plants", ["potted plant"]),
        ("plants potted by her", []),
        ("T-shirts", ["t-shirt"]),
        ("the sofas in the lounge", ["couch"]),
        ("a gray dog and a grey dog", ["grey", "dog", "grey", "dog"]),
        ("a bigger dog", ["big", "dog"]),
        ("bored infrared doggedly", []),
        ("", []),
        ("- - -", []),
    ],
)
def test_finds(matcher: Matcher, text: str, expected: list[str]) -> None:
    assert [concept.name for concept in matcher.find(text)] == expected


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("an orange dog", [ATTRIBUTE, OBJECT]),
        ("an orange big dog", [ATTRIBUTE, ATTRIBUTE, OBJECT]),
        ("a bowl of oranges", [OBJECT]),
        ("she eats an orange in the kitchen", [OBJECT]),
        ("an orange", [OBJECT]),
    ],
)
def test_a_word_of_two_kinds(matcher: Matcher, text: str, kinds: list[str]) -> None:
    assert [concept.kind for concept in matcher.find(text)] == kinds


def test_a_tagger_decides_where_there_is_one(tmp_path: Path) -> None:
    pipeline = spacy.blank("en")
    ruler = pipeline.add_pipe("attribute_ruler")
    ruler.add([[{"LOWER": "orange"}]], {"POS": "ADJ"})
    ruler.add([[{"LOWER": "watch"}]], {"POS": "VERB"})
    pipeline.to_disk(tmp_path / "tagged")
    matcher = Matcher(Vocabulary(NAMES), english=English(tmp_path / "tagged"))
    assert matcher.english.tagged
    assert [c.kind for c in matcher.find("people watch the orange")] == [OBJECT, ATTRIBUTE]


def test_without_a_tagger_verbs_are_nouns(matcher: Matcher) -> None:
    assert not matcher.english.tagged
    assert [c.name for c in matcher.find("people watch")] == ["person", "watch"]


def test_counts_captions_not_mentions(matcher: Matcher) -> None:
    counts = matcher.count(["A dog and two dogs", "dog", "a cat"])
    assert {concept.name: n for concept, n in counts.items()} == {"dog": 2}


# The reference knows these words and their plurals, and nothing of tables, keys or caches.
PLURALS = {"traffic": "traffic", "light": "lights", "hot": "hot", "dog": "dogs", "wine": "wine"}
PLURALS |= {"bus": "buses", "stop": "stops", "red": "reds", "ski": "skis", "pole": "poles"}
SINGULAR = {plural: word for word, plural in PLURALS.items()} | {word: word for word in PLURALS}


def naive(names: list[tuple[str, ...]], words: list[str]) -> list[int]:
    """Try every name at every place, the longest first, and skip what it covers."""
    found, start = [], 0
    while start < len(words):
        best = -1
        for row, name in enumerate(names):
            here = words[start : start + len(name)]
            same = here and (*here[:-1], SINGULAR[here[-1]]) == name
            if same and (best < 0 or len(name) > len(names[best])):
                best = row
        if best >= 0:
            found.append(best)
        start += len(names[best]) if best >= 0 else 1
    return found


@given(
    names=st.lists(
        st.lists(st.sampled_from(sorted(PLURALS)), min_size=1, max_size=3).map(tuple),
        min_size=1,
        max_size=8,
        unique=True,
    ),
    texts=st.lists(st.lists(st.sampled_from(sorted(SINGULAR)), max_size=12), max_size=4),
)
def test_agrees_with_the_naive_reference(
    english: English, names: list[tuple[str, ...]], texts: list[list[str]]
) -> None:
    vocabulary = Vocabulary(tuple(Concept(" ".join(name), OBJECT) for name in names))
    matcher = Matcher(vocabulary, english=english)
    expected = [[" ".join(names[row]) for row in naive(names, words)] for words in texts]
    sentences = [" ".join(words) for words in texts]
    assert [[c.name for c in matcher.find(text)] for text in sentences] == expected
    counts = Counter(name for row in expected for name in set(row))
    assert {c.name: n for c, n in matcher.count(sentences).items()} == counts
