"""The extraction loop: decode ahead, detect, name, write.

Letters: M regions of one image, A attribute slots, D feature width.

Images are worked on in *groups* of ``batch_size`` images that follow one another in the list. A
group is detected together, committed together, and never depends on another one: so a run that was
interrupted goes on with the very batches that it would have had, and the store's bytes depend
neither on interruptions nor on the number of threads or shards.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL.Image import DecompressionBombWarning

from weaksup import attributes
from weaksup.concepts import OBJECT, Vocabulary, build_vocabulary, read_concepts, write_concepts
from weaksup.concepts.wordnet import find_wordnet
from weaksup.concepts.words import class_names, class_words, object_words
from weaksup.detectors.base import Detections, Detector, FeatureModel, PooledRegions
from weaksup.errors import DataError, UsageError
from weaksup.images import UnreadableImage, decode
from weaksup.store import (
    Overwriting,
    RegionStore,
    RegionWriter,
    StoreItem,
    StorePlan,
    check_shards,
    finish_shards,
    open_store,
    shard_path,
    shard_ranges,
)
from weaksup.types import (
    STATUS_NO_REGION,
    STATUS_OK,
    STATUS_UNREADABLE,
    Image,
    Int32,
    Provenance,
    Regions,
)

BATCH_SIZE = 16
ATTRIBUTE_SLOTS = attributes.SLOTS

T = TypeVar("T")
R = TypeVar("R")

# Called with the number of images that are done and the number of all images.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ExtractionReport:
    """What ``extract`` did.

    Attributes:
        store: the complete store, a file or a folder of shards.
        concepts: the file with the concepts and their counts.
        images: how many images the store has.
        done_before: how many of them an earlier run had committed.
        regions: how many regions, the whole images counted in.
        without_regions: how many images have the whole image as their only region.
        unreadable: (id, reason) of the images that could not be decoded.
        counts: (kind, concept, number of regions of the score threshold or more), most frequent
            first; only what occurs.
        classes: (class, number of images) by the best class of the whole image, most frequent
            first; empty without a feature model that has classes.
        notes: what the vocabulary merged or left out, a sentence each.
        wordnet: whether the concepts have WordNet's synonyms and hypernyms.
    """

    store: Path
    concepts: Path
    images: int
    done_before: int
    regions: int
    without_regions: int
    unreadable: tuple[tuple[str, str], ...]
    counts: tuple[tuple[str, str, int], ...]
    classes: tuple[tuple[str, int], ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    wordnet: bool = True


def extract(
    images: Sequence[tuple[str, Path]],
    *,
    detector: Detector,
    feature_model: FeatureModel | None = None,
    out: Path,
    concepts: Path,
    concept_list: Path | None = None,
    shards: int = 1,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    overwrite: bool = False,
    opened: Callable[[], object] | None = None,
    progress: Progress | None = None,
) -> ExtractionReport:
    """Detect regions and concepts in ``images`` and write the region store.

    Interrupted at any time, by anything, it goes on from the last committed group when it is
    called again with the same arguments.

    Args:
        images: (id, path), sorted by id; see ``weaksup.images.list_images``.
        detector: gives boxes and labels, and the region features if there is no feature model.
        feature_model: pools the region features in place of the detector.
        out: the store; a file, or with ``shards`` over 1 a folder.
        concepts: the concept file to write.
        concept_list: the user's own concepts; labels that it does not name are left out.
        shards: files to cut the store into.
        batch_size: images that are detected and committed together.
        workers: threads; by default one more than processors that this process may use, for one
            of them is always waiting for the interpreter.
        overwrite: replace a store that is there, also one in another number of shards.
        opened: called once nothing that is in the way has been found, before the first image is
            read.
        progress: called after each group.

    Raises:
        UsageError: if a store is there that was made otherwise, or in another number of shards.
        DataError: if the concept list is bad, or the disk is full.
    """
    objects, words = list(detector.objects), list(detector.attributes) or attributes.ATTRIBUTES
    vocabulary = build_vocabulary(objects, words, user_list=concept_list)
    analyser = Analyser(detector=detector, feature_model=feature_model, vocabulary=vocabulary)
    provenance = analyser.provenance(batch_size=batch_size)
    wordnet = find_wordnet()
    names: dict[str, Any] = {
        "classes": [class_names(label)[0] for label in analyser.classes],
        "object_words": object_words(vocabulary.of(OBJECT), wordnet),
        "class_words": class_words(analyser.classes, wordnet),
    }
    total, before = len(images), 0
    paths = _store_paths(out, shards, overwrite=overwrite)
    overwriting = None
    if overwrite and shards > 1:
        plan = StorePlan(
            ids=tuple(image for image, _ in images),
            feature_size=analyser.feature_size,
            attribute_slots=ATTRIBUTE_SLOTS,
            objects=vocabulary.objects,
            attributes=vocabulary.attributes,
            provenance=provenance,
        )
        overwriting = Overwriting(out, plan=plan, group_size=batch_size)
    with _quiet_pictures(), ThreadPoolExecutor(workers or processors() + 1) as pool:
        done = 0
        for path, positions in zip(paths, shard_ranges(total, shards, batch_size), strict=True):
            part = images[positions.start : positions.stop]
            with RegionWriter.open(
                path,
                ids=[image for image, _ in part],
                feature_size=analyser.feature_size,
                attribute_slots=ATTRIBUTE_SLOTS,
                objects=vocabulary.objects,
                attributes=vocabulary.attributes,
                provenance=provenance,
                group_size=batch_size,
                class_slots=analyser.class_slots,
                **names,
                overwrite=overwrite and not (overwriting and path.name in overwriting.done),
            ) as writer:
                before += writer.done
                if opened is not None and (not writer.finished or path == paths[-1]):
                    opened()
                    opened = None
                if not writer.finished:
                    # The counts of another store must not outlive it.
                    concepts.unlink(missing_ok=True)
                for group in analyser.groups(part[writer.done :], batch_size, pool):
                    writer.append_group(group)
                    if progress is not None:
                        progress(done + writer.done, total)
                with overwriting.replacing(path.name) if overwriting else nullcontext():
                    writer.finish()
                done += len(part)
    if shards > 1:
        finish_shards(out, shards)
    return _report(out, concepts, vocabulary, done_before=before)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Analyser:
    """From picture files to what the store holds of them.

    Detectors differ in what is fast. One that is ``concurrent`` is called with single images from
    all threads; any other with whole batches from one thread, while others decode ahead.

    Args:
        detector: gives boxes and labels.
        feature_model: gives the region features, in place of the detector, if there is one.
        vocabulary: what the labels are called; built from the detector's labels.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        feature_model: FeatureModel | None,
        vocabulary: Vocabulary,
    ) -> None:
        self._detector = detector
        self._feature_model = feature_model
        self._concurrent = _is_concurrent(detector) and (
            feature_model is None or _is_concurrent(feature_model)
        )
        self._object_rows = vocabulary.object_rows
        self._attribute_rows = vocabulary.attribute_rows
        self.feature_size = (feature_model or detector).feature_size
        self.classes = feature_model.classes if feature_model is not None else ()
        self.class_slots = feature_model.class_slots if feature_model is not None else 0

    def provenance(self, *, batch_size: int) -> Provenance:
        """The detector's provenance with that of everything else that changes the result."""
        base = self._detector.provenance
        settings = dict(base.settings)
        model = self._feature_model
        if model is not None:
            settings["feature_model"] = {
                "name": model.provenance.detector,
                "weights_sha256": model.provenance.weights_sha256,
                **model.provenance.settings,
            }
        if not self._detector.attributes:
            settings["attributes"] = {"tagger": "weaksup.attributes", "version": attributes.VERSION}
        if not self._concurrent:
            # Pictures of a batch are padded to one size: who is in it matters.
            settings["batch_size"] = batch_size
        return Provenance(base.detector, base.weights_sha256, settings)

    def groups(
        self, images: Sequence[tuple[str, Path]], size: int, pool: ThreadPoolExecutor
    ) -> Iterator[list[StoreItem]]:
        """What the store holds of ``images``, in order, ``size`` at a time."""
        if self._concurrent:
            yield from _chunks(_ahead(pool, self._analyse, images, limit=2 * size), size)
            return
        for group in _chunks(_ahead(pool, _read, images, limit=size), size):
            yield self._analyse_batch(group)

    def _analyse(self, entry: tuple[str, Path]) -> StoreItem:
        image = _read(entry)
        return image if isinstance(image, StoreItem) else self._analyse_batch([image])[0]

    def _analyse_batch(self, group: Sequence[Image | StoreItem]) -> list[StoreItem]:
        """Items of decoded images; those of unreadable ones pass through."""
        images = [image for image in group if isinstance(image, Image)]
        detections = self._detector.detect(images) if images else []
        if self._feature_model is None:
            pooled = [PooledRegions.without_classes(found.features) for found in detections]
        else:
            pooled = self._feature_model.pool(images, [found.boxes for found in detections])
        items = iter(
            self._item(image, found, rows)
            for image, found, rows in zip(images, detections, pooled, strict=True)
        )
        return [next(items) if isinstance(image, Image) else image for image in group]

    def _item(self, image: Image, found: Detections, pooled: PooledRegions) -> StoreItem:
        height, width = image.pixels.shape[:2]
        sides = np.array([width, height, width, height], dtype=np.float32)
        words = found.attributes
        if not self._detector.attributes:
            words = attributes.describe(image.pixels, found.boxes)
        regions = Regions(
            boxes=np.clip(found.boxes / sides, 0, 1),
            features=pooled.features,
            scores=found.scores,
            objects=_rename(found.objects, self._object_rows),
            attributes=_pack(_rename(words, self._attribute_rows)),
            classes=pooled.classes,
            class_scores=pooled.class_scores,
        )
        status = STATUS_OK if len(regions) > 1 else STATUS_NO_REGION
        return StoreItem(size=image.size, status=status, regions=regions)


def _is_concurrent(model: object) -> bool:
    return bool(getattr(model, "concurrent", False))


def _read(entry: tuple[str, Path]) -> Image | StoreItem:
    name, path = entry
    try:
        pixels, size = decode(path)
    except UnreadableImage as error:
        return StoreItem(size=(0, 0), status=STATUS_UNREADABLE, regions=None, reason=error.reason)
    return Image(id=name, pixels=pixels, size=size)


def _rename(rows: Int32, names: Int32) -> Int32:
    """Rows of the detector's labels to rows of the vocabulary; -1 stays -1."""
    if not len(names):
        return np.full_like(rows, -1)
    return np.where(rows < 0, np.int32(-1), names[rows]).astype(np.int32)


def _pack(rows: Int32) -> Int32:
    """(M, any) to (M, A): duplicates dropped, -1 as padding at the end."""
    packed = np.full((len(rows), ATTRIBUTE_SLOTS), -1, dtype=np.int32)
    for row, words in enumerate(rows.tolist()):
        unique = list(dict.fromkeys(word for word in words if word >= 0))[:ATTRIBUTE_SLOTS]
        packed[row, : len(unique)] = unique
    return packed


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[T], R], arguments: Iterable[T], *, limit: int
) -> Iterator[R]:
    """``map`` over a pool in order, with at most ``limit`` results waiting to be taken."""
    waiting: deque[Future[R]] = deque()
    try:
        for argument in arguments:
            waiting.append(pool.submit(function, argument))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(items, size)):
        yield chunk


@contextmanager
def _quiet_pictures() -> Iterator[None]:
    """Keep Pillow from warning of large pictures and odd metadata: we handle both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        yield


def _store_paths(out: Path, shards: int, *, overwrite: bool) -> list[Path]:
    if shards == 1:
        return [out]
    if out.is_file():
        raise UsageError(f"{out} is a file", "with --shards, --out names a folder")
    if not overwrite:
        check_shards(out, shards)
    return [shard_path(out, index, shards) for index in range(shards)]


def _report(
    out: Path, concepts: Path, vocabulary: Vocabulary, *, done_before: int
) -> ExtractionReport:
    store = open_store(out)
    # The names of regions that only fill up an image are guesses: they count for nothing.
    named = store.region_scores >= store.score_threshold
    counted = vocabulary.with_regions(
        objects=_count(store.region_objects[named], len(vocabulary.objects)),
        attributes=_count(store.region_attributes[named], len(vocabulary.attributes)),
    )
    if not _is_whole(concepts):
        write_concepts(concepts, counted)
    ranking = sorted(
        ((c.kind, c.name, c.regions) for c in counted.concepts if c.regions),
        key=lambda entry: (-entry[2], entry[1]),
    )
    return ExtractionReport(
        store=out,
        concepts=concepts,
        images=len(store),
        done_before=done_before,
        regions=len(store.region_objects),
        without_regions=_without_regions(store),
        unreadable=tuple(store.problems),
        counts=tuple(ranking),
        classes=_classes_of_images(store),
        notes=vocabulary.notes,
        wordnet=vocabulary.sources["wordnet"] is not None,
    )


def _is_whole(concepts: Path) -> bool:
    """Whether the file is there and can be read: then it may hold counts of captions, too."""
    try:
        read_concepts(concepts)
    except DataError:
        return False
    return True


def _without_regions(store: RegionStore) -> int:
    return int(np.count_nonzero(store.status == STATUS_NO_REGION))


def _classes_of_images(store: RegionStore) -> tuple[tuple[str, int], ...]:
    if not store.classes:
        return ()
    # The whole image is the first region of every image that has one.
    first = store.offsets[:-1][np.diff(store.offsets) > 0]
    best = store.region_classes[first, 0]
    # By name: two classes of one name, as ImageNet's cranes are, read as one.
    counts = Counter(store.classes[row] for row in best[best >= 0].tolist())
    return tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _count(rows: Int32, names: int) -> Int32:
    used = rows[rows >= 0]
    return np.bincount(used, minlength=names).astype(np.int32)
