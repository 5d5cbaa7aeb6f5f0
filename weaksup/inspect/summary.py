"""A region store in figures.

Letters: N images, M regions, V names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weaksup.store import RegionStore
from weaksup.subsample import ImageConcepts
from weaksup.types import STATUS_NO_REGION, STATUS_UNREADABLE, Int64


@dataclass(frozen=True)
class Frequency:
    """How often a name occurs.

    Attributes:
        name: of an object, an attribute or a class.
        images: that show it.
        regions: that it was given to.
    """

    name: str
    images: int
    regions: int


@dataclass(frozen=True)
class StoreSummary:
    """What a store holds.

    Attributes:
        images: N, the unreadable ones too.
        unreadable: images that could not be read.
        without_region: images in which nothing was found; the whole is their one region.
        without_concept: readable images of which no region says anything.
        without_concept_ids: the first of them.
        regions: M.
        speaking: regions that have an object, and a score of the threshold or more.
        per_image: the least, the median and the most regions of a readable image.
        feature_size: D.
        names: kind -> how many names there are, used or not.
        frequent: kind -> names in the order in which images show them, the most frequent first.
            Of ``object`` and ``attribute`` the speaking regions count; of ``class`` the most
            probable one of each region, and the images whose whole is taken for it.
    """

    images: int
    unreadable: int
    without_region: int
    without_concept: int
    without_concept_ids: tuple[str, ...]
    regions: int
    speaking: int
    per_image: tuple[int, float, int]
    feature_size: int
    names: dict[str, int]
    frequent: dict[str, tuple[Frequency, ...]]


def summarise(store: RegionStore, *, top: int, examples: int = 5) -> StoreSummary:
    """Count what a store holds; its features are not read.

    Args:
        store: open region store.
        top: names of each kind that are told, at most.
        examples: images without a concept that are named, at most.
    """
    readable = store.status != STATUS_UNREADABLE
    counts = np.diff(store.offsets)[readable]
    concepts = ImageConcepts.of_store(store, min_score=store.score_threshold)
    silent = np.flatnonzero((np.diff(concepts.starts) == 0) & readable)
    said = (store.region_objects >= 0) & (store.region_scores >= store.score_threshold)
    shown = concepts.frequency()
    split = len(store.objects)
    frequent = {
        "object": _most(
            store.objects, shown[:split], _count(store.region_objects[said], split), top=top
        ),
        "attribute": _most(
            store.attributes,
            shown[split:],
            _count(store.region_attributes[said], len(store.attributes)),
            top=top,
        ),
    }
    if store.classes:
        best = store.region_classes[:, 0]
        whole = store.offsets[:-1][np.diff(store.offsets) > 0]
        size = len(store.classes)
        frequent["class"] = _most(
            store.classes, _count(best[whole], size), _count(best, size), top=top
        )
    return StoreSummary(
        images=len(store),
        unreadable=int(np.count_nonzero(~readable)),
        without_region=int(np.count_nonzero(store.status == STATUS_NO_REGION)),
        without_concept=len(silent),
        without_concept_ids=tuple(store.ids[row] for row in silent[:examples]),
        regions=int(store.offsets[-1]),
        speaking=int(np.count_nonzero(said)),
        per_image=(
            (int(counts.min()), float(np.median(counts)), int(counts.max()))
            if len(counts)
            else (0, 0.0, 0)
        ),
        feature_size=store.feature_size,
        names={
            "object": len(store.objects),
            "attribute": len(store.attributes),
            "class": len(store.classes),
        },
        frequent=frequent,
    )


def _count(rows: npt.NDArray[np.int32], size: int) -> Int64:
    """(size,) how often each row occurs; -1 is none."""
    return np.bincount(rows[rows >= 0].ravel(), minlength=size).astype(np.int64)


def _most(
    names: list[str] | tuple[str, ...], images: Int64, regions: Int64, *, top: int
) -> tuple[Frequency, ...]:
    order = np.lexsort((-regions, -images))
    return tuple(
        Frequency(names[row], int(images[row]), int(regions[row]))
        for row in order[:top]
        if images[row] or regions[row]
    )
