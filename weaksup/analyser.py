"""From picture files to what a region store holds of them: decode ahead, detect, name.

Letters: M regions of one image, A attribute slots, D feature width, K class slots.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL.Image import DecompressionBombWarning

from weaksup import attributes
from weaksup.concepts import Vocabulary
from weaksup.detectors.base import Detections, Detector, FeatureModel, PooledRegions
from weaksup.images import UnreadableImage, decode
from weaksup.signals import held_signals
from weaksup.store import StoreItem
from weaksup.types import (
    STATUS_NO_REGION,
    STATUS_OK,
    STATUS_UNREADABLE,
    Image,
    Int32,
    Provenance,
    Regions,
)

ATTRIBUTE_SLOTS = attributes.SLOTS
# How long an image may keep a signal waiting.
WAIT_SECONDS = 0.5

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Traits:
    """What a detector and a feature model bring, known before the first image is read.

    Workers that write one store must have the same ones.

    Attributes:
        objects: object labels, as the detector's makers wrote them.
        attributes: attribute labels; those of colour naming where the detector has none.
        classes: labels of the feature model's own classes; empty without.
        feature_size: D.
        class_slots: K; 0 without classes.
        provenance: how the regions are made: the detector's, with everything else that changes the
            result.
    """

    objects: tuple[str, ...]
    attributes: tuple[str, ...]
    classes: tuple[str, ...]
    feature_size: int
    class_slots: int
    provenance: Provenance

    @classmethod
    def of(
        cls, detector: Detector, feature_model: FeatureModel | None, *, batch_size: int
    ) -> Traits:
        """Those of models that are built."""
        model = feature_model
        return cls(
            objects=tuple(detector.objects),
            attributes=tuple(detector.attributes) or tuple(attributes.ATTRIBUTES),
            classes=tuple(model.classes) if model is not None else (),
            feature_size=(model or detector).feature_size,
            class_slots=model.class_slots if model is not None else 0,
            provenance=_provenance(detector, model, batch_size=batch_size),
        )


def _provenance(
    detector: Detector, feature_model: FeatureModel | None, *, batch_size: int
) -> Provenance:
    base = detector.provenance
    settings = dict(base.settings)
    if feature_model is not None:
        settings["feature_model"] = {
            "name": feature_model.provenance.detector,
            "weights_sha256": feature_model.provenance.weights_sha256,
            **feature_model.provenance.settings,
        }
    if not detector.attributes:
        settings["attributes"] = {"tagger": "weaksup.attributes", "version": attributes.VERSION}
    if not _are_concurrent(detector, feature_model):
        # Pictures of a batch are padded to one size: who is in it matters.
        settings["batch_size"] = batch_size
    return Provenance(base.detector, base.weights_sha256, settings)


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
        self._concurrent = _are_concurrent(detector, feature_model)
        self._object_rows = vocabulary.object_rows
        self._attribute_rows = vocabulary.attribute_rows

    def groups(
        self, images: Sequence[tuple[str, Path]], size: int, pool: ThreadPoolExecutor
    ) -> Generator[list[StoreItem], None, None]:
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


def _are_concurrent(*models: Detector | FeatureModel | None) -> bool:
    return all(model is None or getattr(model, "concurrent", False) for model in models)


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
    """``map`` over a pool in order, with at most ``limit`` results waiting to be taken.

    Signals are held back in every call of the pool, whose locks its threads need to end, and acted
    on between them.
    """
    waiting: deque[Future[R]] = deque()

    def first() -> R:
        future = waiting.popleft()
        with held_signals() as held:
            while not future.done():
                wait([future], timeout=WAIT_SECONDS)
                held.check()
            return future.result()

    try:
        for argument in arguments:
            with held_signals():
                waiting.append(pool.submit(function, argument))
            if len(waiting) >= limit:
                yield first()
        while waiting:
            yield first()
    finally:
        with held_signals():
            for future in waiting:
                future.cancel()


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(items, size)):
        yield chunk


@contextmanager
def quiet_pictures() -> Iterator[None]:
    """Keep Pillow from warning of large pictures and odd metadata: we handle both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        yield
