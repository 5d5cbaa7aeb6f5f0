"""What a precomp folder holds: which images of which split, with which captions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from weaksup.errors import DataError
from weaksup.store.readable import readable_ids
from weaksup.store.reader import RegionStore
from weaksup.types import (
    TEST,
    TRAIN,
    VAL,
    Annotations,
    CaptionedImage,
    Corpus,
)
from weaksup.wording import counted

# Our split -> the name that VSE++, SCAN and VSE-infinity give it in file names.
SPLIT_NAMES = {TRAIN: "train", VAL: "dev", TEST: "test"}
# The tools read so many captions of dev, whatever there are.
DEV_CAPTIONS = 5000


@dataclass(frozen=True)
class SplitPlan:
    """One split as it is written.

    Attributes:
        name: ``train``, ``dev`` or ``test``.
        images: with the captions that are written.
        row_per_caption: an image's features are written once for each of its captions; else
            once, and the captions of all images are equally many.
    """

    name: str
    images: tuple[CaptionedImage, ...]
    row_per_caption: bool = False

    @property
    def captions(self) -> int:
        return sum(len(image.captions) for image in self.images)

    def rows(self) -> list[str]:
        """The image of each row of features."""
        if not self.row_per_caption:
            return [image.id for image in self.images]
        return [image.id for image in self.images for _ in image.captions]


@dataclass(frozen=True)
class PrecompPlan:
    """All splits that have an image.

    Attributes:
        splits: in the order train, dev, test.
        notes: what was left out or cut, a sentence each.
    """

    splits: tuple[SplitPlan, ...]
    notes: tuple[str, ...]


def plan_precomp(
    corpus: Corpus,
    store: RegionStore,
    annotations: Annotations | None,
    *,
    captions_per_image: int,
) -> PrecompPlan:
    """Choose what is written.

    Images of val and test get exactly ``captions_per_image`` captions: those with fewer are left
    out, and further captions are cut. Those of train keep all that the annotations keep; where
    images differ in their number, each caption gets a row of features of its own, since the tools
    know nothing between one caption a row and the same number for every row.

    Args:
        corpus: with splits, and with the ids of the store (``match_ids``).
        store: open region store; its unreadable images are left out.
        annotations: which training captions are kept; None keeps all.
        captions_per_image: at least 1.

    Raises:
        DataError: if the annotations were made from other captions or name what is not there, or
            no training image is left.
    """
    readable = {*readable_ids(store)}
    notes: list[str] = []
    splits = []
    for split, name in SPLIT_NAMES.items():
        images = [image for image in corpus.split(split) if image.captions]
        if split == TRAIN and annotations is not None:
            images = _kept(corpus, images, annotations)
        unreadable = sum(image.id not in readable for image in images)
        if unreadable:
            lost = counted(unreadable, "image")
            notes.append(f"{name}: {lost} could not be read: left out")
        images = [image for image in images if image.id in readable]
        if split == TRAIN:
            if not images:
                raise DataError(
                    f"no training image of {corpus.source} is in the region store {store.path}",
                    "name the captions of these images with --captions",
                )
            even = all(len(image.captions) == captions_per_image for image in images)
            if not even:
                notes.append(
                    f"{name}: not all images have {captions_per_image} captions, so that the "
                    "features of an image are written once for each caption"
                )
            splits.append(SplitPlan(name, tuple(images), row_per_caption=not even))
        else:
            images = _exactly(images, captions_per_image, name, notes)
            if images:
                splits.append(SplitPlan(name, tuple(images)))
    dev = next((split.captions for split in splits if split.name == SPLIT_NAMES[VAL]), 0)
    if 0 < dev < DEV_CAPTIONS:
        notes.append(
            f"{SPLIT_NAMES[VAL]}: it has {counted(dev, 'caption')}, and VSE++, SCAN and "
            f"VSE-infinity read {DEV_CAPTIONS:,} whatever there are: set the length in their data "
            "loader"
        )
    return PrecompPlan(tuple(splits), tuple(notes))


def _kept(
    corpus: Corpus, images: Iterable[CaptionedImage], annotations: Annotations
) -> list[CaptionedImage]:
    """The annotated images with the captions that they keep, in the order of the corpus."""
    if annotations.fingerprint != corpus.fingerprint:
        raise DataError(
            f"the annotations were made from other captions than {corpus.source}",
            "run `weaksup subsample` again, or name the captions with --captions",
        )
    training = {image.id: image for image in images}
    kept = {}
    for name, indices in annotations.captions_kept.items():
        image = training.get(name)
        if image is None or max(indices) >= len(image.captions):
            raise DataError(
                f"the annotations keep captions of {name} that the train split of {corpus.source} "
                "does not have in the region store",
                "run `weaksup subsample` again, after `weaksup extract`",
            )
        kept[name] = replace(image, captions=tuple(image.captions[i] for i in sorted(indices)))
    return [kept[name] for name in training if name in kept]


def _exactly(
    images: Iterable[CaptionedImage], count: int, split: str, notes: list[str]
) -> list[CaptionedImage]:
    """The images that have ``count`` captions, without further ones."""
    chosen, fewer, more = [], 0, 0
    for image in images:
        fewer += len(image.captions) < count
        more += len(image.captions) > count
        if len(image.captions) >= count:
            chosen.append(replace(image, captions=image.captions[:count]))
    if fewer:
        lost = counted(fewer, "image")
        notes.append(f"{split}: {lost} with fewer than {counted(count, 'caption')} left out")
    if more:
        longer = counted(more, "image has", "images have")
        notes.append(f"{split}: {longer} more than {counted(count, 'caption')}: the rest is cut")
    return chosen
