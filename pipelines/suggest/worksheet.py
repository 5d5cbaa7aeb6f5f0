"""A worksheet to write captions in, and what comes back joined with the captions there are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from weaksup.errors import DataError
from weaksup.types import TEST, TRAIN, Annotations, CaptionedImage, Corpus

COLUMNS = ("image", "caption", "split", "reason")


def worksheet(reasons: Mapping[str, str], *, per_image: int, split: str = TRAIN) -> str:
    """A csv with ``per_image`` rows without caption for each image.

    A row whose caption is still empty is dropped, and counted, when it is read as captions.

    Args:
        reasons: image -> why it is worth a caption, shown in its first row.
        per_image: rows of an image.
        split: of all; blank leaves it to whoever reads the captions.
    """
    rows: list[Sequence[str]] = [
        (image, "", split, "" if turn else reason)
        for image, reason in reasons.items()
        for turn in range(per_image)
    ]
    return _table(COLUMNS, rows)


def joined(
    corpus: Corpus,
    annotations: Annotations,
    added: Corpus,
    *,
    lacking: Sequence[CaptionedImage] = (),
) -> str:
    """A csv of the captions that there are to train and to test on, and of new ones.

    Training images have the captions that they keep, then the new ones. Val and test stay as they
    are, and so does what is used nowhere. Every image's split is named: it may not change because
    captions have come.

    Args:
        corpus: with splits.
        annotations: made from it.
        added: a worksheet that was read; its images count as train, whatever split they have.
        lacking: images that the captions file has and the store lacks or cannot read. They stay as
            they are: an image of test that comes into the store one day must be of test then.

    Raises:
        DataError: if a new caption is about an image of val or test, or of no split.
    """
    held_out = {image.id: image for image in corpus.images if image.split != TRAIN}
    new = {image.id: image.captions for image in added.images if image.captions}
    for name in new:
        if name in held_out:
            split = held_out[name].split or "no split"
            raise DataError(
                f"{added.source} has captions of {name}, which is in {split} of {corpus.source}",
                "it must not be trained on: take its rows out of the worksheet",
            )
    rows: list[Sequence[str]] = []
    for image in corpus.images:
        if image.split == TRAIN:
            kept = annotations.captions_kept.get(image.id, ())
            texts = [image.captions[index] for index in kept]
            rows += [(image.id, text, TRAIN) for text in (*texts, *new.pop(image.id, ()))]
        else:
            rows += _unchanged(image)
    for image in lacking:
        rows += _unchanged(image)
    rows += [(name, text, TRAIN) for name, texts in new.items() for text in texts]
    return _table(COLUMNS[:3], rows)


def _unchanged(image: CaptionedImage) -> list[Sequence[str]]:
    if not image.captions:
        # Of val or test, and without a caption: a row that keeps it out of training.
        return [(image.id, "", TEST)]
    return [(image.id, text, image.split or "") for text in image.captions]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    text = file.getvalue()
    # Spreadsheets take a file without the mark for one in the machine's old code page.
    return text if text.isascii() else f"\ufeff{text}"
