"""Single words by which a caption may call a thing: its names, and what WordNet says it is.

A detector says "golden retriever", a caption "dog": the words of a name lead from the one to the
other, the nearest first. They are words as captions are cut into, so a name of several words
gives its last one, which in English says what the thing is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weaksup.concepts.model import Concept
from weaksup.concepts.wordnet import WordNet

Words = tuple[tuple[str, ...], ...]

# How far below the top of WordNet a more general name must be: "dog" (8) and "vehicle" (7) are
# words of captions, "organism" (5) and "artifact" (4) say too little.
LEAST_DEPTH = 6


def object_words(objects: Iterable[Concept], wordnet: WordNet | None) -> Words:
    """The words of each object: of its names, then of its WordNet sense and what is above.

    Args:
        objects: concepts of the kind ``object``.
        wordnet: None where it is not installed: then the names give all words.
    """
    return tuple(
        words_of([*concept.names, *_lineage([concept.name], wordnet)]) for concept in objects
    )


def class_words(labels: Iterable[str], wordnet: WordNet | None) -> Words:
    """The words of each class of a feature network.

    Args:
        labels: for each class, its names with ", " between.
        wordnet: None where it is not installed: then the names give all words.
    """
    split = [class_names(label) for label in labels]
    return tuple(words_of([*names, *_lineage(names, wordnet)]) for names in split)


def class_names(label: str) -> list[str]:
    """The names in a class label: "tench, Tinca tinca" has two."""
    return [name.strip() for name in label.split(",") if name.strip()] or [label]


def words_of(names: Iterable[str]) -> tuple[str, ...]:
    """The last word of each name, lower case, once; what is no word ("R.V.", "4x4") is left out."""
    last = (name.lower().replace("_", " ").split()[-1:] for name in names)
    return tuple(dict.fromkeys(word for words in last for word in words if word.isalpha()))


def _lineage(names: Sequence[str], wordnet: WordNet | None) -> tuple[str, ...]:
    return () if wordnet is None else wordnet.lineage(names, least_depth=LEAST_DEPTH)
