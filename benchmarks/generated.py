"""Stores and captions of any size that cost little to make: content that only has the right shape.

A store of COCO's size has 18 GB of features. Here only the whole image's row of each image is
written; the others are a hole in the file, which reads as zeros, through the same mapping and with
the same pages as a full one. So what is measured is memory and arithmetic, never the disk, and no
figure says how well anything retrieves.

Letters: N images, R regions of each, D feature width.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from weaksup.store import schema
from weaksup.store.schema import StorePlan
from weaksup.types import STATUS_OK, TEST, TRAIN, Annotations, CaptionedImage, Corpus, Provenance

SEED = 0
OBJECTS, ATTRIBUTES, CLASS_SLOTS = 80, 20, 5
# Whole images whose features are random; those of the others repeat them.
DIFFERENT = 2048
CHUNK = 4096
WORDS_A_CAPTION = 10
PAGE = 4096


@dataclass(frozen=True)
class Shape:
    """How large a generated world is.

    Attributes:
        images: N.
        regions: R, the same for every image.
        feature_size: D.
        annotated: images with captions, the first ones; the others have none.
        captions: of each annotated image.
        classes: names of a feature network's classes; 0 for a store without them.
        words: different words of the captions, at most.
        tested: images at the end that are test, with captions, and not trained on.
    """

    images: int
    regions: int = 36
    feature_size: int = 2048
    annotated: int = 0
    captions: int = 5
    classes: int = 1000
    words: int = 8000
    tested: int = 0


def write_store(path: Path, shape: Shape) -> None:
    """Write a complete region store that takes 4 KB of disk an image and 100 bytes a region."""
    plan = StorePlan(
        ids=image_ids(shape),
        feature_size=shape.feature_size,
        attribute_slots=3,
        objects=tuple(f"object{number}" for number in range(OBJECTS)),
        attributes=tuple(f"attribute{number}" for number in range(ATTRIBUTES)),
        provenance=Provenance("generated", "0" * 64, {"score_threshold": 0.2}),
        class_slots=CLASS_SLOTS if shape.classes else 0,
        classes=tuple(f"class{number}" for number in range(shape.classes)),
        class_words=tuple((f"word{number}",) for number in range(shape.classes)),
    )
    rows = shape.images * shape.regions
    # HDF5 lays out a contiguous dataset when it is first written to, and fills it, unless told.
    unwritten = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    unwritten.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    unwritten.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w", alignment_threshold=PAGE, alignment_interval=PAGE) as file:
        file.attrs.update(
            format=schema.FORMAT,
            version=schema.VERSION,
            detector=plan.provenance.detector,
            weights_sha256=plan.provenance.weights_sha256,
            settings=schema.canonical_json(plan.provenance.settings),
            created="2000-01-01T00:00:00+00:00",
            problems=json.dumps([]),
            complete=True,
        )
        images = {
            schema.IMAGE_SIZE: np.full((shape.images, 2), 480, schema.SIZE_DTYPE),
            schema.IMAGE_STATUS: np.full(shape.images, STATUS_OK, schema.STATUS_DTYPE),
            schema.IMAGE_OFFSET: np.arange(0, rows + 1, shape.regions, schema.OFFSET_DTYPE),
        }
        for name, values in images.items():
            file.create_dataset(name, data=values)
        for name, texts in plan.texts().items():
            file.create_dataset(name, data=np.array(texts, object), dtype=h5py.string_dtype())
        for array in plan.arrays():
            whole = (rows, *array.row_shape)
            file.create_dataset(array.dataset, whole, array.dtype, dcpl=unwritten)
        _fill(file, shape)
        offset = file["region/feature"].id.get_offset()
    # Not through HDF5, which would write everything around a row, too.
    generator = np.random.default_rng(SEED)
    different = generator.random((DIFFERENT, shape.feature_size), np.float32).astype(np.float16)
    whole = (shape.images, shape.regions, shape.feature_size)
    features = np.memmap(path, np.float16, "r+", offset=offset, shape=whole)
    for start in range(0, shape.images, DIFFERENT):
        part = features[start : start + DIFFERENT, 0]
        part[:] = different[: len(part)]
    features.flush()


def _fill(file: h5py.File, shape: Shape) -> None:
    generator = np.random.default_rng(SEED + 2)
    regions = shape.regions
    for start in range(0, shape.images, CHUNK):
        count = min(CHUNK, shape.images - start)
        place = slice(start * regions, (start + count) * regions)
        corners = np.sort(generator.random((count, regions, 2, 2), np.float32), axis=2)
        corners[:, 0] = [[0, 0], [1, 1]]
        file["region/box"][place] = corners.reshape(-1, 4)
        scores = -np.sort(-generator.random((count, regions), np.float32), axis=1)
        scores[:, 0] = 1
        file["region/score"][place] = scores.ravel().astype(np.float16)
        objects = generator.integers(0, OBJECTS, (count, regions), np.int32)
        objects[:, 0] = -1
        file["region/object"][place] = objects.ravel()
        file["region/attribute"][place] = generator.integers(
            -1, ATTRIBUTES, (count * regions, 3), np.int32
        )
        if shape.classes:
            size = (count * regions, CLASS_SLOTS)
            file[schema.REGION_CLASS][place] = generator.integers(0, shape.classes, size, np.int32)
            probable = -np.sort(-generator.random(size, np.float32), axis=1)
            file[schema.REGION_CLASS_SCORE][place] = (probable / CLASS_SLOTS).astype(np.float16)


def image_ids(shape: Shape) -> tuple[str, ...]:
    """The N ids: the annotated images first, those of the test last."""
    return tuple(f"{number:07d}.jpg" for number in range(shape.images))


def make_captions(shape: Shape) -> tuple[Corpus, Annotations]:
    """Captions of the annotated images, all of them kept, and of the test's.

    Their words are as unequally frequent as those of a language; some of them are the names of
    concepts.
    """
    ids = image_ids(shape)
    held_out = shape.images - shape.tested
    annotated, others, tested = (
        ids[: shape.annotated],
        ids[shape.annotated : held_out],
        ids[held_out:],
    )
    generator = np.random.default_rng(SEED + 1)
    names = np.array(
        [
            *(f"object{number}" for number in range(OBJECTS)),
            *(f"word{number}" for number in range(shape.words - OBJECTS)),
        ]
    )
    chances = 1 / np.arange(1, len(names) + 1)
    chances /= chances.sum()
    count = (len(annotated) + len(tested)) * shape.captions
    drawn = generator.choice(len(names), (count, WORDS_A_CAPTION), p=chances)
    sentences = [" ".join(names[row]) for row in drawn]

    def of(place: int) -> tuple[str, ...]:
        return tuple(sentences[place * shape.captions : (place + 1) * shape.captions])

    images = [
        CaptionedImage(identity, of(place), TEST if place >= len(annotated) else TRAIN)
        for place, identity in enumerate((*annotated, *tested))
    ]
    corpus = Corpus(tuple(images), source="generated", format="generated", fingerprint="generated")
    kept = Annotations(
        ratio=len(annotated) / max(held_out, 1),
        unit="image",
        strategy="generated",
        seed=SEED,
        captions=corpus.source,
        fingerprint=corpus.fingerprint,
        annotated=annotated,
        unannotated=others,
        captions_kept={identity: tuple(range(shape.captions)) for identity in annotated},
    )
    return corpus, kept
