"""What kept captions add, and that nothing else does."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from weaksup.attributes import ATTRIBUTES
from weaksup.concepts import (
    ATTRIBUTE,
    OBJECT,
    English,
    Matcher,
    add_caption_counts,
    build_vocabulary,
    read_concepts,
    write_concepts,
)
from weaksup.concepts.wordnet import WordNet
from weaksup.errors import DataError

CAPTIONS = [
    "A man in a striped shirt sits on a sofa.",
    "The men run with a dog near the skate board.",
    "A man wearing a striped shirt is running.",
    "Two dogs and a man eat hotdogs on the sofa",
    "The striped shirt of a man on a skate board",
    "A hotdog for the dog",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "concepts.json"
    labels = ["dog", "couch", "hot dog", "skateboard", "zebra"]
    write_concepts(path, build_vocabulary(labels, ["red"]))
    return path


def test_counts_aliases_and_words(path: Path, english: English, wordnet: WordNet) -> None:
    words = add_caption_counts(path, CAPTIONS, minimum=2, english=english)
    concepts = {(c.kind, c.name): c for c in read_concepts(path).concepts}
    assert concepts[OBJECT, "dog"].captions == 3
    assert concepts[OBJECT, "zebra"].captions == 0
    assert concepts[OBJECT, "couch"].captions == 2
    assert concepts[OBJECT, "couch"].caption_aliases == ("sofa",)
    assert concepts[OBJECT, "hot dog"].caption_aliases == ("hotdog",)
    assert concepts[OBJECT, "skateboard"].caption_aliases == ("skate board",)
    assert concepts[OBJECT, "man"].captions == 5
    assert concepts[OBJECT, "man"].origin == "captions"
    assert concepts[ATTRIBUTE, "striped"].captions == 3
    assert concepts[OBJECT, "shirt"].captions == 3
    assert not {"run", "running", "sit", "wearing", "board", "skate"} & {
        name for _, name in concepts
    }
    assert (words.captions, words.matched) == (6, 5)
    assert [concept.name for concept in words.added] == ["man", "shirt", "striped"]
    assert ("couch", "sofa") in words.aliases


@pytest.mark.usefixtures("no_wordnet")
def test_without_wordnet(tmp_path: Path, english: English) -> None:
    path = tmp_path / "concepts.json"
    write_concepts(path, build_vocabulary(["dog", "couch", "hot dog"], ["red"]))
    words = add_caption_counts(path, CAPTIONS, minimum=2, english=english)
    # The words of "sofa" and "skate board" are no spelling of a label: they are words of their own.
    assert {c.name for c in words.added} >= {"man", "shirt", "striped", "sofa"}
    assert words.aliases == (("hot dog", "hotdog"),)


def test_earlier_captions_leave_no_trace(path: Path, english: English) -> None:
    before = path.read_bytes()
    add_caption_counts(path, ["A purple unicorn on a settee"] * 9, minimum=1, english=english)
    assert b"unicorn" in path.read_bytes()
    add_caption_counts(path, CAPTIONS, minimum=2, english=english)
    after_both = path.read_bytes()
    path.write_bytes(before)
    add_caption_counts(path, CAPTIONS, minimum=2, english=english)
    assert path.read_bytes() == after_both
    assert b"unicorn" not in after_both


def test_rare_words_stay_out(path: Path, english: English) -> None:
    words = add_caption_counts(path, CAPTIONS, english=english)
    assert [concept.name for concept in words.added] == ["man"]


def test_no_captions(path: Path, english: English) -> None:
    words = add_caption_counts(path, [], english=english)
    assert (words.captions, words.matched, words.added) == (0, 0, ())
    assert {concept.captions for concept in read_concepts(path).concepts} == {0}


def test_needs_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        add_caption_counts(tmp_path / "concepts.json", CAPTIONS)


@pytest.mark.realdata
def test_real_captions(shared: Path, tmp_path: Path, english: English) -> None:
    lines = (shared / "flickr8k" / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    captions = [line.partition("\t")[2] for line in lines[:10_000]]
    path = tmp_path / "concepts.json"
    labels = ["person", "dog", "skis", "traffic light", "light", "scissors"]
    vocabulary = build_vocabulary(labels, ATTRIBUTES)
    write_concepts(path, vocabulary)
    counts = {c.name: n for c, n in Matcher(vocabulary, english=english).count(captions).items()}
    said = Counter(w for text in captions for w in set(re.findall("[a-z]+", text.lower())))
    both = sum(bool({"dog", "dogs"} & set(re.findall("[a-z]+", t.lower()))) for t in captions)
    assert counts["dog"] == both
    assert counts["black"] == said["black"]
    assert counts["person"] >= max(said["person"], said["people"])
    words = add_caption_counts(path, captions, english=english)
    added = {concept.name: concept for concept in words.added}
    assert {"man", "woman", "boy", "girl", "shirt", "ball", "grass", "snow"} <= set(added)
    assert added["man"].captions >= max(said["man"], said["men"])
    assert {added[name].kind for name in ("man", "shirt", "ball")} == {OBJECT}
    assert {added[name].kind for name in ("young", "striped", "wooden")} == {ATTRIBUTE}
    assert not {"run", "wear", "stand", "jump", "the", "two"} & {
        name for name, concept in added.items() if (concept.captions or 0) > 100
    }
