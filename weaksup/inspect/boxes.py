"""The regions of an image, as boxes with names."""

from __future__ import annotations

from weaksup.attributes import POSITIONS, SIZES
from weaksup.drawing import NamedBox
from weaksup.store import RegionStore


def named_boxes(store: RegionStore, index: int, *, threshold: float) -> tuple[NamedBox, ...]:
    """The regions of one image that say something, with their concepts.

    Args:
        store: open region store.
        index: of the image.
        threshold: regions of a lower score say nothing.
    """
    rows = slice(int(store.offsets[index]), int(store.offsets[index + 1]))
    boxes = store.gather([index]).boxes[0]
    found = []
    for place, (score, thing) in enumerate(
        zip(store.region_scores[rows], store.region_objects[rows], strict=True)
    ):
        if thing < 0 or score < threshold:
            continue
        x1, y1, x2, y2 = boxes[place].tolist()
        name = region_name(store, rows.start + place)
        found.append(NamedBox((x1, y1, x2, y2), name, float(score)))
    return tuple(found)


def region_name(store: RegionStore, row: int) -> str:
    """The words of one region: size, other attributes, object; empty where it has no object.

    Args:
        store: open region store.
        row: of the region, among all of the store.
    """
    thing = int(store.region_objects[row])
    if thing < 0:
        return ""
    # Where it stands is plain to see in a picture.
    words = [store.attributes[word] for word in store.region_attributes[row] if word >= 0]
    words = sorted((w for w in words if w not in POSITIONS), key=lambda w: w not in SIZES)
    return " ".join([*words, store.objects[thing]])
