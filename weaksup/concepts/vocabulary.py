"""Detector labels and a user's list to a vocabulary of concepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from weaksup.concepts.language import pipeline_name
from weaksup.concepts.lemmas import Lemmas
from weaksup.concepts.model import (
    ATTRIBUTE,
    FROM_DETECTOR,
    FROM_LIST,
    KINDS,
    OBJECT,
    Concept,
    Vocabulary,
)
from weaksup.concepts.names import Key, base_name, key_of, split_label
from weaksup.concepts.wordnet import WordNet, find_wordnet
from weaksup.errors import DataError
from weaksup.files import require_file
from weaksup.types import Int32
from weaksup.wording import counted


def build_vocabulary(
    objects: Sequence[str], attributes: Sequence[str], *, user_list: Path | None = None
) -> Vocabulary:
    """Bring labels to concepts: lower case, singular, several words kept, duplicates merged.

    A label may hold alternatives ("hot dog,hotdog"): the first is the name, the others are
    aliases. Objects and attributes stay apart even where a word is both ("orange").

    Args:
        objects: a detector's object labels.
        attributes: its attribute labels, or those of colour naming.
        user_list: the concepts to have instead of all labels: one a line, aliases after a tab
            (several with commas or more tabs between them); empty lines and lines that begin with
            ``#`` do not count. Labels that it does not name have the row -1. A line that is no
            label is an object that only captions can name.

    Returns:
        The vocabulary with its label rows, synonyms and hypernyms.

    Raises:
        UsageError: if the list does not exist.
        DataError: if the list is empty, no text, or gives one name to two concepts; if a label is
            empty.
        MissingDependencyError: if spacy-lookups-data is not installed.
    """
    lemmas = Lemmas()
    labels = {
        OBJECT: [_parse_label(label, OBJECT, lemmas) for label in objects],
        ATTRIBUTE: [_parse_label(label, ATTRIBUTE, lemmas) for label in attributes],
    }
    books = {kind: _Book(kind, lemmas) for kind in KINDS}
    if user_list is None:
        for kind, book in books.items():
            for names in labels[kind]:
                book.add(names)
        origin = FROM_DETECTOR
    else:
        _add_list(user_list, books, labels, lemmas)
        origin = FROM_LIST
    rows = {kind: book.rows(labels[kind]) for kind, book in books.items()}
    concepts = [
        Concept(name=names[0], kind=kind, aliases=tuple(names[1:]), origin=origin)
        for kind, book in books.items()
        for names in book.entries
    ]
    wordnet = find_wordnet()
    return Vocabulary(
        concepts=add_meanings(concepts, wordnet),
        sources={"spacy": pipeline_name(), "wordnet": wordnet.version if wordnet else None},
        object_rows=rows[OBJECT],
        attribute_rows=rows[ATTRIBUTE],
        notes=tuple(_notes(rows)),
        unmatched=tuple(
            names[0]
            for kind, book in books.items()
            for row, names in enumerate(book.entries)
            if row not in rows[kind]
        ),
    )


def listed_names(path: Path) -> tuple[str, ...]:
    """The names of a user's list (see ``build_vocabulary``) without their aliases, each once.

    Raises:
        UsageError: if the list does not exist.
        DataError: if it is empty or no text.
    """
    return tuple(dict.fromkeys(names[0] for _, names in _read_list(path)))


def add_meanings(concepts: Iterable[Concept], wordnet: WordNet | None) -> tuple[Concept, ...]:
    """Fill in synonyms and hypernyms.

    A synonym that two concepts of one kind could mean ("bike": bicycle, motorcycle) is dropped,
    and so is one that is a concept's own name. Without WordNet, concepts stay as they are.
    """
    concepts = tuple(concepts)
    if wordnet is None:
        return concepts
    meanings = [wordnet.meaning(concept.name, concept.kind) for concept in concepts]
    claims = Counter((c.kind, name) for c in concepts for name in c.names)
    for concept, meaning in zip(concepts, meanings, strict=True):
        if meaning is not None:
            claims.update((concept.kind, name) for name in meaning.shared)
    return tuple(
        concept
        if meaning is None
        else replace(
            concept,
            synonyms=tuple(n for n in meaning.synonyms if claims[concept.kind, n] == 1),
            hypernyms=meaning.hypernyms,
        )
        for concept, meaning in zip(concepts, meanings, strict=True)
    )


@dataclass
class _Book:
    """Concepts of one kind while they are gathered: lists of names, and who has which key."""

    kind: str
    lemmas: Lemmas
    entries: list[list[str]] = field(default_factory=list)
    owner: dict[Key, int] = field(default_factory=dict)

    def key(self, name: str) -> Key:
        return key_of(tuple(name.replace("-", " ").split()), self.kind, self.lemmas)

    def find(self, names: Sequence[str]) -> int:
        """The row that has one of the names, -1 if none has."""
        keys = (self.key(name) for name in names)
        return next((self.owner[key] for key in keys if key in self.owner), -1)

    def add(self, names: Sequence[str]) -> None:
        """Enter a concept, or more names for the one that has the first of these."""
        row = self.owner.get(self.key(names[0]), len(self.entries))
        if row == len(self.entries):
            self.entries.append([])
        for name in names:
            if self.owner.setdefault(self.key(name), row) == row and name not in self.entries[row]:
                self.entries[row].append(name)

    def rows(self, labels: Sequence[Sequence[str]]) -> Int32:
        return np.array([self.find(names) for names in labels], np.int32).reshape(-1)


def _parse_label(label: str, kind: str, lemmas: Lemmas) -> list[str]:
    names = [base_name(name, kind, lemmas) for name in split_label(label)]
    if not names:
        raise DataError(
            f"the detector has an empty {kind} label: {label!r}", "mend its labels file"
        )
    return names


def _add_list(
    path: Path, books: dict[str, _Book], labels: dict[str, list[list[str]]], lemmas: Lemmas
) -> None:
    """Enter the lines of a user's list under the kinds of the labels that they name."""
    label_keys = {
        kind: {books[kind].key(name) for names in labels[kind] for name in names} for kind in KINDS
    }
    lines: dict[tuple[str, Key], int] = {}
    for number, written in _read_list(path):
        kinds = [
            kind
            for kind in KINDS
            if any(books[kind].key(base_name(n, kind, lemmas)) in label_keys[kind] for n in written)
        ]
        for kind in kinds or [OBJECT]:
            names = [base_name(name, kind, lemmas) for name in written]
            for key in map(books[kind].key, names):
                earlier = lines.setdefault((kind, key), number)
                if earlier != number and lines[kind, books[kind].key(names[0])] != earlier:
                    raise DataError(
                        f"{path}: '{' '.join(key)}' is a name of line {earlier} and of line "
                        f"{number}",
                        "leave it to one of them",
                    )
            books[kind].add(names)


def _read_list(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers from 1, and the names of each line, lower case."""
    require_file(path, "concept list", "name a text file, a concept a line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the concept list {path} is no UTF-8 text: {error}", "save it as UTF-8"
        ) from error
    numbered = [
        (number, split_label(line.replace("\t", ",")))
        for number, line in enumerate(text.splitlines(), 1)
        if not line.lstrip().startswith("#")
    ]
    lines = [(number, names) for number, names in numbered if names]
    if not lines:
        raise DataError(
            f"the concept list {path} names no concept", "write one a line, aliases after a tab"
        )
    return lines


def _notes(rows: dict[str, Int32]) -> list[str]:
    notes = []
    for kind in KINDS:
        labels, kept = len(rows[kind]), int((rows[kind] >= 0).sum())
        used = len(set(rows[kind][rows[kind] >= 0].tolist()))
        if kept < labels:
            total = counted(labels, f"{kind} label")
            notes.append(f"{labels - kept:,} of {total} not in the concept list")
        if used < kept:
            notes.append(f"{counted(kept, f'{kind} label')} became {counted(used, 'concept')}")
    return notes
