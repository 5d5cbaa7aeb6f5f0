"""Regional semantics: the concept words that the store knows of an image.

Letters: N images, M regions in all, V object concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weaksup.store import RegionStore
from weaksup.types import Float32

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Semantics:
    """Concept phrases and concept sets of some images of a store.

    Attributes:
        phrases: N lists, most confident first: ``["red shirt", "man", ...]``, without repeats.
        concepts: (N, V) bool, whether an image shows an object concept.
        weights: (V,) float32, log(N / images with the concept): a concept that every image
            shows says nothing about which images are alike.
    """

    phrases: list[list[str]]
    concepts: Bool
    weights: Float32


def read_semantics(
    store: RegionStore, rows: npt.NDArray[np.int64], *, threshold: float, attributes: bool
) -> Semantics:
    """Collect the regional semantics of ``rows``, and of no other image.

    Args:
        store: open region store.
        rows: (N,) int64, images of the store.
        threshold: regions of a lower score say nothing.
        attributes: put a region's attribute words before its object.
    """
    concepts = np.zeros((len(rows), len(store.objects)), dtype=np.bool_)
    phrases = []
    for position, row in enumerate(rows):
        regions = slice(int(store.offsets[row]), int(store.offsets[row + 1]))
        objects = store.region_objects[regions]
        said = (objects >= 0) & (store.region_scores[regions] >= threshold)
        concepts[position, objects[said]] = True
        words = store.region_attributes[regions] if attributes else None
        phrases.append(_phrases(store, objects, said, words))
    weights = np.log(len(rows) / np.maximum(concepts.sum(0), 1)).astype(np.float32)
    return Semantics(phrases, concepts, weights)


def _phrases(
    store: RegionStore,
    objects: npt.NDArray[np.int32],
    said: npt.NDArray[np.bool_],
    attributes: npt.NDArray[np.int32] | None,
) -> list[str]:
    result: dict[str, None] = {}
    for place in np.flatnonzero(said):
        words: Sequence[str] = ()
        if attributes is not None:
            words = [store.attributes[word] for word in attributes[place] if word >= 0]
        result[" ".join((*words, store.objects[objects[place]]))] = None
    return list(result)
