"""Regional semantics: the concept words that the store knows of an image.

Letters: N images, V words that any of them is known by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.evidence import concept_words, read_evidence
from weaksup.store import RegionStore
from weaksup.types import Float32, Int64

Bool = npt.NDArray[np.bool_]

CHUNK = 1024
SUREST = 1.0  # Of no higher score is anything: then the evidence of all images is not read.
MOST = 12
"""Phrases up to which words are added: of many classes the unsure ones are mostly wrong."""


@dataclass(frozen=True)
class Semantics:
    """Concept phrases and concept sets of some images of a store.

    Attributes:
        phrases: N lists of phrases without repeats: the objects in the order of the detector's
            confidence, then attributes and the feature network's classes, surest first.
        concepts: (N, V) bool, the same as sets; attributes are never part of an object's name.
        weights: (V,) float32, log(N / images with the word): a word that every image is known by
            says nothing about which images are alike.
    """

    phrases: list[list[str]]
    concepts: Bool
    weights: Float32


def read_semantics(
    store: RegionStore,
    rows: Int64,
    *,
    threshold: float,
    word_threshold: float,
    attributes: bool,
    spoken: Set[str],
) -> Semantics:
    """Collect the regional semantics of ``rows``, and of no other image.

    A class that the feature network sees is called by the nearest of its words, as WordNet has
    them, that captions use ("golden retriever" is a dog). A class or an attribute without such a
    word is left out.

    Args:
        store: open region store.
        rows: (N,) int64, images of the store.
        threshold: regions of a lower score say nothing.
        word_threshold: attributes and classes of no higher score say nothing; at 1 none does.
        attributes: put a region's attribute words before its object.
        spoken: the words of the kept captions.
    """
    phrases, known = [], []
    others = _words(store, rows, threshold=word_threshold, spoken=spoken)
    for row, words in zip(rows, others, strict=True):
        regions = slice(int(store.offsets[row]), int(store.offsets[row + 1]))
        objects = store.region_objects[regions]
        said = (objects >= 0) & (store.region_scores[regions] >= threshold)
        plain = _join(_phrases(store, objects, said, None), words)
        known.append(plain)
        if attributes:
            before = store.region_attributes[regions]
            plain = _join(_phrases(store, objects, said, before), words)
        phrases.append(plain)
    concepts = _sets(known)
    weights = np.log(len(rows) / np.maximum(concepts.sum(0), 1)).astype(np.float32)
    return Semantics(phrases, concepts, weights)


def _phrases(
    store: RegionStore,
    objects: npt.NDArray[np.int32],
    said: Bool,
    attributes: npt.NDArray[np.int32] | None,
) -> Iterator[str]:
    """What the detector calls each region of an image."""
    for place in np.flatnonzero(said):
        words: Sequence[str] = ()
        if attributes is not None:
            words = [store.attributes[word] for word in attributes[place] if word >= 0]
        yield " ".join((*words, store.objects[objects[place]]))


def _words(
    store: RegionStore, rows: Int64, *, threshold: float, spoken: Set[str]
) -> Iterator[list[str]]:
    """For each image the words of its attributes and classes that captions use, surest first."""
    if threshold >= SUREST:
        yield from ([] for _ in rows)
        return
    objects = len(store.objects)
    names = [
        next((word for word in words if word in spoken), None)
        for words in concept_words(store)[objects:]
    ]
    for start in range(0, len(rows), CHUNK):
        for scores in read_evidence(store, rows[start : start + CHUNK])[:, objects:]:
            sure = np.flatnonzero(scores > threshold)
            order = sure[np.argsort(-scores[sure], kind="stable")]
            yield [name for name in (names[place] for place in order) if name is not None]


def _join(phrases: Iterator[str], words: Sequence[str]) -> list[str]:
    """Both without repeats, with words up to ``MOST``."""
    first = dict.fromkeys(phrases)
    return list(dict.fromkeys((*first, *words)))[: max(MOST, len(first))]


def _sets(known: Sequence[Sequence[str]]) -> Bool:
    """(N, V) bool, V in alphabetical order."""
    column = {
        word: place for place, word in enumerate(sorted({w for words in known for w in words}))
    }
    result = np.zeros((len(known), len(column)), dtype=np.bool_)
    for row, words in enumerate(known):
        result[row, [column[word] for word in words]] = True
    return result
