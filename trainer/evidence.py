"""What was said of an image, and how surely: the evidence for each concept.

Letters: N images, V concepts. They come from up to four sources, one after the other: the
detector's objects, the attributes of its confident regions, the classes that the feature network
sees in the whole image, and those that it sees in any region.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weaksup.store import RegionStore
from weaksup.types import Float32, Int32, Int64


def sources(store: RegionStore) -> tuple[int, ...]:
    """How many concepts each source has; they sum to V."""
    classes = len(store.classes)
    return (len(store.objects), len(store.attributes), *((classes, classes) if classes else ()))


def concept_words(store: RegionStore) -> list[tuple[str, ...]]:
    """The words by which a caption may call each of the V concepts, nearest first."""
    objects = store.object_words or [(name,) for name in store.objects]
    attributes = [(name,) for name in store.attributes]
    # A store may have classes without words: no caption calls them by anything.
    classes = store.class_words or [()] * len(store.classes)
    return [*objects, *attributes, *classes, *classes]


def read_evidence(store: RegionStore, rows: Int64 | Sequence[int]) -> Float32:
    """The highest score of each concept in each image.

    Args:
        store: open region store.
        rows: (N,) int64, images of the store.

    Returns:
        (N, V) float32 in [0, 1]; 0 where nothing was said.
    """
    sizes = sources(store)
    evidence = np.zeros((len(rows), sum(sizes)), dtype=np.float32)
    objects, attributes, *classes = np.split(evidence, np.cumsum(sizes)[:-1], axis=1)
    image, region, first = _regions(store.offsets, np.asarray(rows, dtype=np.int64))
    named, scores = store.region_objects[region], store.region_scores[region]
    _raise(objects, image, named[:, None], scores)
    # The colour of a region that holds nothing known is that of the background.
    sure = (named >= 0) & (scores >= store.score_threshold)
    _raise(attributes, image[sure], store.region_attributes[region[sure]], scores[sure])
    if classes:
        seen, sureness = store.region_classes[region], store.region_class_scores[region]
        # Region 0 is the whole image.
        _raise(classes[0], image[first], seen[first], sureness[first])
        _raise(classes[1], image, seen, sureness)
    return evidence


def _regions(offsets: Int64, rows: Int64) -> tuple[Int64, Int64, npt.NDArray[np.bool_]]:
    """All regions of some images: whose each is, its row in the store, whether it is the first."""
    counts = offsets[rows + 1] - offsets[rows]
    image = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)
    return image, place + np.repeat(offsets[rows], counts), place == 0


def _raise(
    highest: Float32, image: Int64, concepts: Int32, scores: npt.NDArray[np.floating]
) -> None:
    """Raise the evidence of images for concepts to the scores.

    Args:
        highest: (N, V) float32, changed in place.
        image: (M,) int64, rows of ``highest``.
        concepts: (M, K) int32, columns of it, -1 for none.
        scores: (M,) of all K, or (M, K).
    """
    known = concepts >= 0
    owners = np.broadcast_to(image[:, None], concepts.shape)[known]
    values = np.broadcast_to(scores if scores.ndim == 2 else scores[:, None], concepts.shape)[known]
    np.maximum.at(highest, (owners, concepts[known]), values.astype(np.float32))
