"""``concepts.json``: what a vocabulary is on disk. Neither spaCy nor NLTK is needed here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from weaksup.concepts.model import KINDS, ORIGINS, Concept, Vocabulary
from weaksup.errors import DataError, UsageError
from weaksup.files import write_atomically
from weaksup.workspace import own_concepts_file

FORMAT, FORMAT_VERSION = "weaksup.concepts", 1

_AGAIN = "run the same `weaksup extract` again: it makes it anew"
_LISTS = ("aliases", "synonyms", "hypernyms", "caption_aliases")


def write_concepts(path: Path, vocabulary: Vocabulary) -> None:
    """Write ``concepts.json``; whoever reads meanwhile sees the old file or the new one, whole.

    Label rows and notes are not written: they belong to one detector's run.

    Raises:
        DataError: if it cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "store": vocabulary.store,
        "sources": vocabulary.sources,
        "concepts": [asdict(concept) for concept in vocabulary.concepts],
    }
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def read_concepts(path: Path) -> Vocabulary:
    """Read ``concepts.json``.

    Raises:
        DataError: if it is missing or damaged (the message names the entry), or of another
            version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", "run `weaksup extract` first") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", _AGAIN) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} is no list of concepts (no format '{FORMAT}')", _AGAIN)
    if content.get("version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has version {content.get('version')!r}; this weaksup reads version "
            f"{FORMAT_VERSION}",
            _AGAIN,
        )
    entries, sources = content.get("concepts"), content.get("sources")
    if not isinstance(entries, list) or not isinstance(sources, dict):
        raise DataError(f"{path} lacks its concepts or its sources", _AGAIN)
    try:
        concepts = tuple(_concept(row, entry) for row, entry in enumerate(entries))
    except ValueError as error:
        raise DataError(f"{path}: {error}", _AGAIN) from error
    store = content.get("store")
    return Vocabulary(
        concepts=concepts, sources=sources, store=store if isinstance(store, str) else None
    )


def write_concepts_of(path: Path, vocabulary: Vocabulary, *, store: Path) -> None:
    """Write the words of a region store, and that they are its own.

    Raises:
        DataError: if it cannot be written.
    """
    # Relative, so that a workspace can be moved.
    write_concepts(path, replace(vocabulary, store=os.path.relpath(store, path.parent)))


def holds_concepts_of(path: Path, store: Path) -> bool:
    """Whether ``path`` is whole and of this region store, or does not say of which."""
    try:
        named = read_concepts(path).store
    except DataError:
        return False
    return named is None or _same(path.parent / named, store)


def another_store(path: Path, store: Path) -> Path | None:
    """The region store that has its words in ``path``, if it is another one and still there."""
    try:
        named = read_concepts(path).store
    except DataError:  # there is none, or it is damaged: nothing to lose
        return None
    if named is None:
        return None
    other = path.parent / named
    return other if other.exists() and not _same(other, store) else None


def place_for_words(path: Path, store: Path) -> tuple[Path, str]:
    """Where a store that is finished can have its words, and what is to be said of it.

    Two stores may have been made in one folder at the same time. The words of the first stay.

    Returns:
        ``path`` and nothing; or, if another store has its words there, a file of this store's own,
        where ``weaksup.workspace.concepts_file`` finds it, and a sentence that says so.
    """
    other = another_store(path, store)
    if other is None:
        return path, ""
    own = own_concepts_file(path, store)
    return own, (
        f"{path} holds the words of another store, {other}: those of {store.name} are in "
        f"{own.name}, where the commands that follow read them"
    )


def refuse_another_stores(path: Path, store: Path) -> None:
    """Let a store that is yet to be made not share the file in which another one has its words.

    Raises:
        UsageError: if ``path`` holds the words of another store that is still there.
    """
    other = another_store(path, store)
    if other is not None:
        own = store.parent / store.stem / store.name
        raise UsageError(
            f"{path} holds the words of another store, {other}",
            f"give {store.name} a folder of its own, such as --out {own}; --overwrite replaces the "
            "words",
        )


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _concept(row: int, entry: Any) -> Concept:
    """One entry.

    Raises:
        ValueError: what is wrong with it.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"concept {row} is no object")
    known = {item.name for item in fields(Concept)}
    wrong = sorted(known ^ set(entry))
    if wrong:
        raise ValueError(f"concept {row} lacks or has unknown keys: {', '.join(wrong)}")
    lists = {key: entry[key] for key in _LISTS}
    counts = [entry["regions"], 0 if entry["captions"] is None else entry["captions"]]
    checks = {
        "name": isinstance(entry["name"], str) and bool(entry["name"]),
        "kind": entry["kind"] in KINDS,
        "origin": entry["origin"] in ORIGINS,
        "captions and regions": all(type(count) is int and count >= 0 for count in counts),
        **{
            key: isinstance(value, list) and all(isinstance(item, str) for item in value)
            for key, value in lists.items()
        },
    }
    bad = [key for key, good in checks.items() if not good]
    if bad:
        raise ValueError(f"concept {row} ({entry['name']!r}): bad {', '.join(bad)}")
    return Concept(**{**entry, **{key: tuple(value) for key, value in lists.items()}})
