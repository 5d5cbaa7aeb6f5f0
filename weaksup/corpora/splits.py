"""Which images are trained on, and which are not."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

from weaksup.types import SPLITS, TEST, TRAIN, VAL, Corpus
from weaksup.wording import counted

# Upper ends of the three parts of [0, 1): 80 % train, 10 % val, 10 % test.
TRAIN_END, VAL_END = 0.8, 0.9


def assign_splits(corpus: Corpus) -> Corpus:
    """Give every captioned image its split.

    A corpus that names splits keeps them; its images without one stay without, are noted, and are
    used nowhere. Where no image names a split, images are split 80/10/10 by a hash of their id,
    the same on every platform and whatever other images there are. The fingerprint stays that of
    the file. Calling it again changes nothing.
    """
    loose = [image for image in corpus.images if image.split is None and image.captions]
    if any(image.split is not None for image in corpus.images):
        if not loose:
            return corpus
        note = (
            f"{counted(len(loose), 'captioned image')} in no split, used nowhere, such as "
            f"{loose[0].id}"
        )
        notes = corpus.notes if note in corpus.notes else (*corpus.notes, note)
        return replace(corpus, notes=notes)
    images = tuple(
        replace(image, split=hashed_split(image.id)) if image.captions else image
        for image in corpus.images
    )
    counts = Counter(image.split for image in images)
    note = "no splits are named: split by a hash of the id, " + ", ".join(
        f"{counts[split]} {split}" for split in SPLITS
    )
    return replace(corpus, images=images, notes=(*corpus.notes, note))


def hashed_split(image_id: str) -> str:
    """``train``, ``val`` or ``test``, 80/10/10, from sha256 of the id."""
    digest = hashlib.sha256(image_id.encode("utf-8")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < TRAIN_END:
        return TRAIN
    return VAL if place < VAL_END else TEST
