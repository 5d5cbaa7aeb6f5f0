"""What every cell is made from: the store, the captions, and which images are for what."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.compare.config import Comparison
from trainer.evaluate import FOLD_SIZE, FOLDS, SplitImages, choose_split
from weaksup.corpora import fingerprint, match_ids, read_corpus
from weaksup.errors import UsageError
from weaksup.store import RegionStore, open_store, readable_ids
from weaksup.types import TEST, TRAIN, VAL, CaptionedImage, Corpus
from weaksup.wording import counted


@dataclass(frozen=True)
class Source:
    """Where the data are, and how they are split: enough for a process to load them by itself.

    Attributes:
        regions: the store.
        captions: the captions file.
        hold_out: as ``Comparison`` has it.
        test_split: as ``Comparison`` has it.
    """

    regions: Path
    captions: Path
    hold_out: int
    test_split: str


@dataclass(frozen=True)
class ComparisonData:
    """The data, loaded.

    Attributes:
        store: open.
        corpus: with the ids of the store, readable images only, and with the splits that are used.
        captions: the file.
        readable: ids of the store's readable images.
        test: what is reported.
        notes: what was left out or replaced, a sentence each.
    """

    store: RegionStore
    corpus: Corpus
    captions: Path
    readable: tuple[str, ...]
    test: SplitImages
    notes: tuple[str, ...]

    @classmethod
    def load(cls, source: Source) -> ComparisonData:
        """Open the store and read the captions.

        Raises:
            DataError: if they are damaged, do not fit, or there is no image to report on.
            UsageError: if more images are to be held out than there are.
        """
        store = open_store(source.regions)
        readable = readable_ids(store)
        corpus = match_ids(read_corpus(source.captions), readable)
        corpus = hold_out(corpus, source.hold_out)
        test = choose_split(corpus, store, source.test_split)
        notes = [*corpus.notes, *test.notes]
        if test.name == VAL:
            notes.append(
                "the figures are of the images on which the best epoch is chosen: that flatters "
                "models that have epochs"
            )
        return cls(store, corpus, source.captions, readable, test, tuple(notes))

    def check_protocols(self, comparison: Comparison) -> None:
        """Refuse a protocol that is not defined for the images that are reported on.

        Raises:
            UsageError: if it is.
        """
        images = len(self.test.images)
        if "folds-1k" in comparison.protocols and images != FOLDS * FOLD_SIZE:
            raise UsageError(
                f"the protocol folds-1k is defined for {FOLDS * FOLD_SIZE:,} images, "
                f"{self.test.name} has {images:,}",
                'leave "folds-1k" out of `protocols`',
            )


def hold_out(corpus: Corpus, count: int) -> Corpus:
    """Take training images out as val; the corpus' own val is the test where it has none.

    Which ones depends on their ids alone, and on no seed: every cell holds out the same. Where the
    corpus has a test, its own val is used nowhere.

    Args:
        corpus: with splits, and with the ids of the store (``match_ids``).
        count: how many; 0 leaves the corpus as it is.

    Raises:
        UsageError: if no training image would be left.
    """
    if not count:
        return corpus
    training = [image.id for image in corpus.split(TRAIN) if image.captions]
    if count >= len(training):
        raise UsageError(
            f"hold_out = {count:,} leaves none of the {len(training):,} captioned training images "
            f"of {corpus.source}",
            "hold out fewer, or name the captions that are meant with --captions",
        )
    held = set(sorted(training, key=_place)[:count])
    own_val = None if any(image.captions for image in corpus.split(TEST)) else TEST
    images = tuple(
        replace(image, split=VAL)
        if image.id in held
        else replace(image, split=own_val)
        if image.split == VAL
        else image
        for image in corpus.images
    )
    return replace(
        corpus,
        images=images,
        fingerprint=fingerprint(images),
        notes=(*corpus.notes, *_notes(corpus.split(VAL), count, own_val)),
    )


def _place(image_id: str) -> bytes:
    return hashlib.sha256(f"held out\n{image_id}".encode()).digest()


def _notes(val: Sequence[CaptionedImage], count: int, own_val: str | None) -> list[str]:
    notes = [f"{counted(count, 'training image is', 'training images are')} held out as val"]
    if val:
        used = "the test" if own_val == TEST else "used nowhere, since there is a test"
        notes.append(f"{counted(len(val), 'image')} of the captions' own val: {used}")
    return notes
