"""Labels and list lines to concept names; names to the keys that are compared."""

from __future__ import annotations

import re

from weaksup.concepts.lemmas import PLURAL_ONLY, Lemmas
from weaksup.concepts.model import OBJECT

Key = tuple[str, ...]

_IN_BRACKETS = re.compile(r"\([^)]*\)")  # LVIS: "bow_(weapon)"
_HEAD = re.compile(r"[^\s-]+$")


def split_label(label: str) -> list[str]:
    """A detector's label to its alternatives ("hot dog,hotdog"), without brackets."""
    plain = _IN_BRACKETS.sub(" ", label).replace("_", " ").lower()
    parts = (" ".join(part.split()).strip("-") for part in plain.split(","))
    return [part for part in parts if part]


def base_name(name: str, kind: str, lemmas: Lemmas) -> str:
    """The name with its last word in its base form: "Traffic lights" to "traffic light"."""
    lemma = lemmas.noun if kind == OBJECT else lemmas.adjective
    return _HEAD.sub(lambda match: lemma(match[0]), name)


def key_of(words: Key, kind: str, lemmas: Lemmas) -> Key:
    """What two spellings of one name have in common: American spelling, base form of the last word.

    Args:
        words: lower case, without hyphens.
        kind: ``object`` or ``attribute``.
        lemmas: the tables.
    """
    lemma = lemmas.noun if kind == OBJECT else lemmas.adjective
    spelled = [lemmas.spelling(word) for word in words]
    return (*spelled[:-1], lemmas.spelling(lemma(spelled[-1])))


def key_variants(key: Key, kind: str) -> list[Key]:
    """The key, and for "wine glass" also "wine glasses", whose head alone is another thing."""
    plural = key[-1] + ("es" if key[-1].endswith("s") else "s")
    if kind == OBJECT and len(key) > 1 and plural in PLURAL_ONLY:
        return [key, (*key[:-1], plural)]
    return [key]
