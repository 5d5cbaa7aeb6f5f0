"""Concepts: the words that regions and captions share.

Importing this package is cheap; spaCy is loaded by what needs it (building a vocabulary, matching
text), and WordNet is read once when a vocabulary is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weaksup.concepts.file import (
    another_store,
    holds_concepts_of,
    place_for_words,
    read_concepts,
    refuse_another_stores,
    write_concepts,
    write_concepts_of,
)
from weaksup.concepts.model import ATTRIBUTE, KINDS, OBJECT, Concept, Vocabulary
from weaksup.concepts.wordnet import NOTICE as WORDNET_NOTICE

if TYPE_CHECKING:
    from weaksup.concepts.captions import CaptionWords, add_caption_counts
    from weaksup.concepts.language import English
    from weaksup.concepts.matcher import Matcher
    from weaksup.concepts.vocabulary import build_vocabulary

__all__ = [
    "ATTRIBUTE",
    "KINDS",
    "OBJECT",
    "WORDNET_NOTICE",
    "CaptionWords",
    "Concept",
    "English",
    "Matcher",
    "Vocabulary",
    "add_caption_counts",
    "another_store",
    "build_vocabulary",
    "holds_concepts_of",
    "place_for_words",
    "read_concepts",
    "refuse_another_stores",
    "write_concepts",
    "write_concepts_of",
]

_HEAVY = {
    "CaptionWords": "captions",
    "English": "language",
    "Matcher": "matcher",
    "add_caption_counts": "captions",
    "build_vocabulary": "vocabulary",
}


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HEAVY[name]}"), name)
