"""What was said of an image, and how surely: the evidence for each concept, the bag of objects.

Letters: N images, V concepts, O objects that the detector knows, M regions. The concepts come from
up to four sources, one after the other: the detector's objects, the attributes of its confident
regions, the classes that the feature network sees in the whole image, and those that it sees in
any region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weaksup.store import RegionStore
from weaksup.types import Float32, Int32, Int64

OBJECT_COLUMNS = 3  # of each object: highest score, number, area
# Regions of a lower score are many, and their sum would be taken for one thing. In float16, as the
# scores are that it is compared with.
LEAST_SCORE = float(np.float16(0.1))


@dataclass(frozen=True)
class ImageEvidence:
    """What was said of B images.

    Attributes:
        concepts: (B, V) float32, as ``read_evidence`` gives it.
        objects: (B, ``OBJECT_COLUMNS`` O) float32, as ``read_objects`` gives it.
    """

    concepts: Tensor
    objects: Tensor

    @classmethod
    def read(cls, store: RegionStore, rows: Int64 | Sequence[int]) -> ImageEvidence:
        """Of (B,) images of an open store."""
        return cls(
            torch.from_numpy(read_evidence(store, rows)),
            torch.from_numpy(read_objects(store, rows)),
        )

    def to(self, device: torch.device) -> ImageEvidence:
        return ImageEvidence(self.concepts.to(device), self.objects.to(device))


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


def read_objects(store: RegionStore, rows: Int64 | Sequence[int]) -> Float32:
    """The bag of objects: how surely, how often and how large each of them is there.

    Two men are another scene than one, and a face that fills the picture than one in a crowd: no
    feature of a region says it, and the best score of a name does not either.

    Args:
        store: open region store.
        rows: (N,) int64, images of the store.

    Returns:
        (N, ``OBJECT_COLUMNS`` O) float32, not negative: for all objects first the highest score of
        a region, then the sum of the scores, then the sum of scores times areas as shares of the
        image, over regions of a score of 0.1 and more. Of each the square root, which evens them
        out as it does the features.
    """
    parts = np.zeros((OBJECT_COLUMNS, len(rows), len(store.objects)), dtype=np.float32)
    image, region, _ = _regions(store.offsets, np.asarray(rows, dtype=np.int64))
    named, scores = store.region_objects[region], store.region_scores[region]
    known = (named >= 0) & (scores >= LEAST_SCORE)
    place, scores = (image[known], named[known]), scores[known]
    sizes = np.diff(store.region_boxes[region[known]].reshape(-1, 2, 2), axis=1)
    np.maximum.at(parts[0], place, scores)
    np.add.at(parts[1], place, scores)
    np.add.at(parts[2], place, scores * sizes.clip(0).prod(-1)[:, 0])
    return np.concatenate(list(np.sqrt(parts, out=parts)), axis=1)


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
