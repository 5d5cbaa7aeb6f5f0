"""concepts.json: there and back, and damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weaksup.concepts import (
    ATTRIBUTE,
    OBJECT,
    Concept,
    Vocabulary,
    holds_concepts_of,
    read_concepts,
    refuse_another_stores,
    write_concepts,
    write_concepts_of,
)
from weaksup.errors import DataError, UsageError

VOCABULARY = Vocabulary(
    concepts=(
        Concept("café chair", OBJECT, ("stool",), ("s",), ("seat",), captions=3, regions=7),
        Concept("red", ATTRIBUTE, caption_aliases=("crimson",), origin="list"),
    ),
    sources={"spacy": "blank", "wordnet": None},
)


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "concepts.json"
    write_concepts(path, VOCABULARY)
    read = read_concepts(path)
    assert read.concepts == VOCABULARY.concepts
    assert read.sources == VOCABULARY.sources
    assert [file.name for file in path.parent.iterdir()] == ["concepts.json"]
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["format"], content["version"]) == ("weaksup.concepts", 1)
    assert (content["store"], read.store) == (None, None)
    assert content["concepts"][0]["name"] == "café chair"


def test_it_is_of_one_store(tmp_path: Path) -> None:
    path, store, other = tmp_path / "concepts.json", tmp_path / "a.h5", tmp_path / "b.h5"
    refuse_another_stores(path, other)
    assert not holds_concepts_of(path, store)
    write_concepts_of(path, VOCABULARY, store=store)
    store.touch()
    assert holds_concepts_of(path, store)
    assert not holds_concepts_of(path, other)
    refuse_another_stores(path, store)
    with pytest.raises(UsageError, match=r"holds the words of another store, .*a\.h5") as caught:
        refuse_another_stores(path, other)
    assert f"--out {tmp_path}/b/b.h5" in caught.value.hint
    # What a store had that is gone is in nobody's way.
    store.unlink()
    refuse_another_stores(path, other)
    # Moved with its folder, it is the same store's.
    moved = tmp_path / "moved"
    moved.mkdir()
    path.rename(moved / path.name)
    assert holds_concepts_of(moved / path.name, moved / store.name)


def test_of_an_unknown_store_it_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "concepts.json"
    write_concepts(path, VOCABULARY)
    refuse_another_stores(path, tmp_path / "a.h5")
    assert holds_concepts_of(path, tmp_path / "a.h5")


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_concepts(tmp_path / "concepts.json")
    assert "weaksup extract" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "no list of concepts"),
        ({"concepts": {}}, "lacks its concepts"),
        ({"concepts": [3]}, "concept 0 is no object"),
        ({"concepts": [{"name": "dog"}]}, "concept 0 lacks or has unknown keys: aliases"),
    ],
)
def test_damaged_files(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "concepts.json"
    write_concepts(path, VOCABULARY)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change))
    with pytest.raises(DataError, match=message):
        read_concepts(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("kind", "verb"),
        ("aliases", "stool"),
        ("synonyms", [1]),
        ("captions", -1),
        ("regions", True),
        ("origin", "elsewhere"),
    ],
)
def test_damaged_entries(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "concepts.json"
    write_concepts(path, VOCABULARY)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["concepts"][1][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"concept 1 .*bad .*{key}"):
        read_concepts(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"weaksup.concepts"'])
def test_no_json_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "concepts.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"concepts\.json"):
        read_concepts(path)


def test_reading_needs_neither_spacy_nor_nltk() -> None:
    code = "import sys, weaksup.concepts; print([m for m in ('spacy', 'nltk') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
