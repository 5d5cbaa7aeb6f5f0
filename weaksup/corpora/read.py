"""Captions files, recognised from their content."""

from __future__ import annotations

from pathlib import Path

# Importing a format's file registers it.
from weaksup.corpora import coco, flickr, karpathy, table
from weaksup.corpora.reader import READERS, Fit, Reader
from weaksup.corpora.source import Source
from weaksup.errors import DataError
from weaksup.types import Corpus

__all__ = ["READERS", "Fit", "Reader", "detect_format", "format_order", "read_corpus"]

# Richest first: Karpathy's files have the splits and the exact captions of the field's papers.
_FIRST = (karpathy.NAME, coco.NAME, flickr.NAME, table.NAME)


def format_order() -> list[str]:
    """All format names in the order in which they are tried and preferred."""
    return [*_FIRST, *(name for name in READERS.names() if name not in _FIRST)]


def detect_format(path: Path) -> str:
    """The name of the format that the content of ``path`` is in; its name plays no part.

    Raises:
        DataError: if the file is missing, empty, or in no known format.
    """
    return _detect(_open(Path(path)))


def read_corpus(path: Path) -> Corpus:
    """Read a captions file in any known format.

    Splits are as the file has them: see :func:`~weaksup.corpora.assign_splits`.

    Raises:
        DataError: if the file is in no known format or damaged; the message says where.
    """
    source = _open(Path(path))
    return READERS.get(_detect(source)).read(source)


def recognises(path: Path) -> str | None:
    """The name of the format that ``path`` is wholly in; None for any other file."""
    try:
        source = _open(path)
    except DataError:
        return None
    return next((name for name in format_order() if READERS.get(name).fit(source) is Fit.YES), None)


def _open(path: Path) -> Source:
    source = Source(path)
    if path.is_dir():
        raise source.error("is a folder", "name the captions file in it")
    if not path.exists():
        raise source.error("does not exist", "name a captions file with --captions FILE")
    if not source.head:
        raise source.error("is empty", "a csv file begins with the line image,caption")
    return source


def _detect(source: Source) -> str:
    fits = {name: READERS.get(name).fit(source) for name in format_order()}
    for wanted in (Fit.YES, Fit.PARTLY):
        for name, fit in fits.items():
            if fit is wanted:
                return name
    raise source.error(
        f"is in no known captions format; it begins with '{source.first_line[:60]}'",
        "known: Karpathy JSON (images, sentences), COCO captions JSON (images, annotations), "
        "Flickr tokens (name.jpg#0, tab, caption), jsonl with image and caption, and csv or tsv "
        "that begins with the line image,caption; all in UTF-8",
    )
