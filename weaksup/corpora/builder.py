"""What all readers share: ids made alike, splits checked, empty captions dropped and counted."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from weaksup.corpora.annotations import fingerprint
from weaksup.corpora.source import Source
from weaksup.errors import did_you_mean
from weaksup.types import SPLITS, TEST, TRAIN, VAL, CaptionedImage, Corpus
from weaksup.wording import counted

# Karpathy's restval is the part of COCO's validation set that everyone trains on.
SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    "restval": TRAIN,
    "dev": VAL,
    "valid": VAL,
    "validation": VAL,
}


def normalise_id(name: str) -> str:
    r"""An image's name as an id: ``/`` between the parts, no leading ``./``, Unicode NFC.

    The suffix and every other dot stay. NFC, because file systems and captions files write
    accents differently.

    Example:
        >>> normalise_id(".\\val2014\\a.b.jpg")
        'val2014/a.b.jpg'
    """
    return unicodedata.normalize("NFC", posixpath.normpath(name.strip().replace("\\", "/")))


@dataclass
class _Entry:
    captions: list[str] = field(default_factory=list)
    split: str | None = None
    split_from: str = ""


class CorpusBuilder:
    """Collects captions in file order and makes a :class:`~weaksup.types.Corpus`.

    Args:
        source: the file, for error messages.
        format: the reader's name.
    """

    def __init__(self, source: Source, format: str) -> None:
        self.source = source
        self.format = format
        self.notes: list[str] = []
        self._entries: dict[str, _Entry] = {}
        self._empty: list[str] = []

    def add(
        self, image: str, captions: Iterable[str], *, split: str | None = None, where: str
    ) -> None:
        """Add captions to an image, which may be known already.

        Args:
            image: the image's name, as the file has it.
            captions: sentences; empty ones are dropped and counted.
            split: as the file has it; None or blank where it names none.
            where: place in the file, for error messages.

        Raises:
            DataError: if the name is blank, the split unknown, or another one than before.
        """
        name = _printable(image)
        if not name:
            raise self.source.error("the name of the image is blank", where=where)
        entry = self._entries.setdefault(normalise_id(name), _Entry())
        for caption in captions:
            text = _printable(caption)
            if text:
                entry.captions.append(text)
            else:
                self._empty.append(where)
        if split is not None and split.strip():
            self._set_split(entry, split.strip(), name, where)

    def _set_split(self, entry: _Entry, split: str, image: str, where: str) -> None:
        name = SPLIT_NAMES.get(split.lower())
        if name is None:
            nearest = did_you_mean(split.lower(), SPLIT_NAMES)
            raise self.source.error(
                f"unknown split '{split}'" + (f": {nearest}" if nearest else ""),
                f"known splits: {', '.join(SPLIT_NAMES)}",
                where=where,
            )
        if entry.split not in (None, name):
            raise self.source.error(
                f"'{image}' is in split '{name}', but {entry.split_from} puts it in "
                f"'{entry.split}'",
                "an image belongs to one split: otherwise test captions would be trained on",
                where=where,
            )
        if entry.split is None:
            entry.split, entry.split_from = name, where

    def __contains__(self, image: str) -> bool:
        return normalise_id(image) in self._entries

    def build(self) -> Corpus:
        """The corpus.

        An image without captions is dropped, and is un-annotated if the store has it; but one
        that the file puts in val or test is kept without split, so that it is trained on nowhere.

        Raises:
            DataError: if there is not one caption.
        """
        images, dropped, held_out = [], [], []
        for name, entry in self._entries.items():
            split = entry.split
            if not entry.captions:
                if split not in (VAL, TEST):
                    dropped.append(name)
                    continue
                held_out.append(name)
                split = None
            images.append(CaptionedImage(id=name, captions=tuple(entry.captions), split=split))
        if len(images) == len(held_out):
            raise self.source.error(
                f"there is no caption in it (read as {self.format})",
                "write a sentence for at least one image",
            )
        notes = list(self.notes)
        if self._empty:
            empty = counted(len(self._empty), "empty caption")
            notes.append(f"{empty} dropped, first at {self._empty[0]}")
        if dropped:
            lost = counted(len(dropped), "image")
            notes.append(f"{lost} without captions dropped, such as {dropped[0]}")
        if held_out:
            notes.append(
                f"{counted(len(held_out), 'val or test image')} without captions, used nowhere, "
                f"such as {held_out[0]}"
            )
        return Corpus(
            images=tuple(images),
            source=str(self.source.path.resolve()),
            format=self.format,
            fingerprint=fingerprint(images),
            notes=tuple(notes),
        )


def _printable(text: str) -> str:
    # JSON may escape half a surrogate pair, which no later file could hold.
    return text.encode("utf-8", "replace").decode("utf-8").strip()
