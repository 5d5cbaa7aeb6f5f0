"""Words that are one: inflections of a stem, and the words that a concept stands for.

Letters: W rows of the vocabulary, V concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from weaksup.types import Int64


def stem_columns(words: Sequence[str]) -> Int64:
    """For each word, the first one of the same stem: ``dogs`` counts as ``dog``.

    Source: Porter, "Snowball: A language for stemming algorithms", 2001, as NLTK has it.

    Args:
        words: W words in row order, the specials included.

    Returns:
        (W,) int64 rows of ``words``.
    """
    first: dict[str, int] = {}
    return np.array([first.setdefault(stem(w), row) for row, w in enumerate(words)], dtype=np.int64)


def concept_columns(
    concepts: Sequence[Sequence[str]], words: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Which stems each concept stands for.

    Args:
        concepts: V lists of words, each a concept's.
        words: W words in row order, the specials included.

    Returns:
        (V, W) bool, true in the column that ``stem_columns`` gives.
    """
    column: dict[str, int] = {}
    for row, word in enumerate(words):
        column.setdefault(stem(word), row)
    result = np.zeros((len(concepts), len(words)), dtype=np.bool_)
    for concept, names in enumerate(concepts):
        known = {stem(name) for name in names} & column.keys()
        result[concept, [column[name] for name in known]] = True
    return result


@cache
def stem(word: str) -> str:
    """The stem of an English word, in lower case."""
    return str(_stemmer().stem(word))


@cache
def _stemmer():  # type: ignore[no-untyped-def]
    from nltk.stem.snowball import SnowballStemmer

    return SnowballStemmer("english")
