"""What a region store is called inside: datasets, dtypes, shapes, file names.

Letters: N images, M regions of all images, D feature width, A attribute slots, K class slots, V
names of a vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from weaksup.types import Provenance

FORMAT = "weaksup.regions"
VERSION = 1

IMAGE_ID = "/image/id"
IMAGE_SIZE = "/image/size"
IMAGE_STATUS = "/image/status"
IMAGE_OFFSET = "/image/offset"
VOCABULARY_OBJECT = "/vocabulary/object"
VOCABULARY_ATTRIBUTE = "/vocabulary/attribute"
# Only in stores that have classes, or words.
VOCABULARY_CLASS = "/vocabulary/class"
VOCABULARY_OBJECT_WORDS = "/vocabulary/object_words"
VOCABULARY_CLASS_WORDS = "/vocabulary/class_words"
REGION_CLASS = "/region/class"
REGION_CLASS_SCORE = "/region/class_score"

SIZE_DTYPE = np.dtype("<i4")
STATUS_DTYPE = np.dtype("u1")
OFFSET_DTYPE = np.dtype("<i8")

# Begins what a store names as its detector where others made the features.
IMPORTED = "imported"

# For each name of a vocabulary, the words by which a caption may call it.
Words = tuple[tuple[str, ...], ...]

SHARD_NAME = re.compile(r"regions-(\d{5})-of-(\d{5})\.h5")
JOURNAL_SUFFIX = ".partial"
# In a folder of shards while some are old and some are new.
OVERWRITING = "overwriting.jsonl"


@dataclass(frozen=True)
class RegionArray:
    """One dataset with a row for each region.

    Attributes:
        field: its name in :class:`weaksup.types.Regions`.
        dataset: its name in the file.
        dtype: as stored, little-endian.
        row_shape: () for a scalar, (D,), (4,), (A,) or (K,) for a vector.
    """

    field: str
    dataset: str
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; 0 where D or A is 0."""
        return self.dtype.itemsize * int(np.prod(self.row_shape, dtype=np.int64))


def region_arrays(
    *, feature_size: int, attribute_slots: int, class_slots: int = 0
) -> tuple[RegionArray, ...]:
    """The datasets under ``/region``, in the order in which they are written."""
    always = (
        RegionArray("boxes", "/region/box", np.dtype("<f4"), (4,)),
        RegionArray("features", "/region/feature", np.dtype("<f2"), (feature_size,)),
        RegionArray("scores", "/region/score", np.dtype("<f2"), ()),
        RegionArray("objects", "/region/object", np.dtype("<i4"), ()),
        RegionArray("attributes", "/region/attribute", np.dtype("<i4"), (attribute_slots,)),
    )
    if not class_slots:
        return always
    return (
        *always,
        RegionArray("classes", REGION_CLASS, np.dtype("<i4"), (class_slots,)),
        RegionArray("class_scores", REGION_CLASS_SCORE, np.dtype("<f2"), (class_slots,)),
    )


@dataclass(frozen=True)
class StorePlan:
    """What a store holds apart from the regions: known before the first image is read.

    Attributes:
        ids: of the images.
        feature_size: D.
        attribute_slots: A.
        objects, attributes: names that regions refer to.
        provenance: how the regions are made.
        class_slots: K; 0 for a store without classes.
        classes: names that ``Regions.classes`` are rows of; empty without classes.
        object_words, class_words: words for each of ``objects`` and ``classes``; empty where none
            are written.
    """

    ids: tuple[str, ...]
    feature_size: int
    attribute_slots: int
    objects: tuple[str, ...]
    attributes: tuple[str, ...]
    provenance: Provenance
    class_slots: int = 0
    classes: tuple[str, ...] = ()
    object_words: Words = ()
    class_words: Words = ()

    def arrays(self) -> tuple[RegionArray, ...]:
        """The datasets under ``/region``."""
        return region_arrays(
            feature_size=self.feature_size,
            attribute_slots=self.attribute_slots,
            class_slots=self.class_slots,
        )

    def texts(self) -> dict[str, tuple[str, ...]]:
        """The datasets of texts: those that every store has, and those that this one has."""
        always = {
            IMAGE_ID: self.ids,
            VOCABULARY_OBJECT: self.objects,
            VOCABULARY_ATTRIBUTE: self.attributes,
        }
        optional = {
            VOCABULARY_CLASS: self.classes,
            VOCABULARY_OBJECT_WORDS: words_to_texts(self.object_words),
            VOCABULARY_CLASS_WORDS: words_to_texts(self.class_words),
        }
        return always | {name: texts for name, texts in optional.items() if texts}

    def to_json(self) -> dict[str, Any]:
        """A JSON-compatible dict; :meth:`from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StorePlan:
        """The inverse of :meth:`to_json`.

        Raises:
            KeyError, TypeError: if a field is missing or has another type.
        """
        return cls(
            ids=tuple(content["ids"]),
            feature_size=content["feature_size"],
            attribute_slots=content["attribute_slots"],
            objects=tuple(content["objects"]),
            attributes=tuple(content["attributes"]),
            provenance=Provenance(**content["provenance"]),
            class_slots=content.get("class_slots", 0),
            classes=tuple(content.get("classes", ())),
            object_words=tuple(map(tuple, content.get("object_words", ()))),
            class_words=tuple(map(tuple, content.get("class_words", ()))),
        )

    def differences(self, new: StorePlan) -> list[str]:
        """What differs in ``new``, a phrase each; empty when both are the same."""
        found = []
        for name in ("detector", "weights_sha256"):
            before, after = getattr(self.provenance, name), getattr(new.provenance, name)
            if before != after:
                found.append(f"{name} {_short(before)} is now {_short(after)}")
        found += _setting_differences(self.provenance.settings, new.provenance.settings)
        for name in ("feature_size", "attribute_slots", "class_slots"):
            before, after = getattr(self, name), getattr(new, name)
            if before != after:
                found.append(f"{name} {before} is now {after}")
        for name, before, after in (
            ("images", self.ids, new.ids),
            ("object names", self.objects, new.objects),
            ("attribute names", self.attributes, new.attributes),
            ("class names", self.classes, new.classes),
            ("words of objects", self.object_words, new.object_words),
            ("words of classes", self.class_words, new.class_words),
        ):
            if before != after:
                found.append(f"{name}: {_sequence_difference(before, after)}")
        return found


def is_imported(provenance: Provenance) -> bool:
    """Whether others made a store's features: no detector of ours makes them again."""
    return provenance.detector.partition(":")[0] == IMPORTED


def canonical_json(settings: Mapping[str, Any]) -> str:
    """The one text of ``settings`` that is stored and hashed."""
    return json.dumps(settings, sort_keys=True, ensure_ascii=False)


def _setting_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    # Through JSON, because what was read back from a file has lists where there were tuples.
    old, new = json.loads(canonical_json(before)), json.loads(canonical_json(after))
    found = []
    for key in sorted({*old, *new}):
        one, other, name = old.get(key), new.get(key), prefix + key
        if isinstance(one, dict) and isinstance(other, dict):
            found += _setting_differences(one, other, f"{name}.")
        elif one != other:
            found.append(f"setting {name} {_told(one)} is now {_told(other)}")
    return found


def _told(value: object) -> str:
    """A setting in words: of a feature model its name, and not all that it is made of."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return str(value.get("name", "given"))
    return _short(value)


def words_to_texts(words: Words) -> tuple[str, ...]:
    """A JSON list for each name."""
    return tuple(json.dumps(each, ensure_ascii=False) for each in words)


def words_from_texts(texts: Sequence[str]) -> Words:
    """The inverse of :func:`words_to_texts`.

    Raises:
        ValueError: if a text is no JSON list of texts.
    """
    words = [json.loads(text) for text in texts]
    for text, each in zip(texts, words, strict=True):
        if not isinstance(each, list) or not all(isinstance(word, str) for word in each):
            raise ValueError(f"{_short(text)} is no JSON list of texts")
    return tuple(map(tuple, words))


def _sequence_difference(before: Sequence[object], after: Sequence[object]) -> str:
    old, new = set(before), set(after)
    gone = [name for name in before if name not in new]
    added = [name for name in after if name not in old]
    if not gone and not added:
        return "the same ones in another order"
    parts = []
    if added:
        parts.append(f"{len(added)} new ({_short(added[0])}{', ...' if len(added) > 1 else ''})")
    if gone:
        parts.append(f"{len(gone)} gone ({_short(gone[0])}{', ...' if len(gone) > 1 else ''})")
    return " and ".join(parts)


def _short(value: object, limit: int = 40) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def journal_folder(path: Path) -> Path:
    """Where the unfinished store ``path`` is kept: ``regions.h5.partial`` beside it."""
    return path.with_name(path.name + JOURNAL_SUFFIX)


def shard_path(folder: Path, index: int, shards: int) -> Path:
    """The file of shard ``index`` (from 0) of ``shards``."""
    return folder / f"regions-{index:05d}-of-{shards:05d}.h5"


def shard_ranges(total: int, shards: int, group_size: int) -> list[range]:
    """Cut ``total`` images into ``shards`` contiguous ranges of positions.

    The cuts fall on multiples of ``group_size``, so that every shard forms the same batches as
    a run without shards, and holds the same bytes. With fewer groups than shards, some are empty.

    Raises:
        ValueError: if ``shards`` or ``group_size`` is not positive.
    """
    if shards < 1 or group_size < 1:
        raise ValueError(f"shards {shards} and group_size {group_size} must be positive")
    groups = -(-total // group_size)
    cuts = [min(total, groups * shard // shards * group_size) for shard in range(shards + 1)]
    return [range(start, stop) for start, stop in pairwise(cuts)]
