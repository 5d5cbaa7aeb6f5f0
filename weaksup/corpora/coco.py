"""COCO's captions files: ``captions_train2017.json`` and their like.

``{"images": [{"id": 391895, "file_name": "000000391895.jpg", ...}, ...],
"annotations": [{"image_id": 391895, "id": 770337, "caption": "A man with ..."}, ...]}``; the image
folder is apart. An image may have a ``split``, which COCO's own files do not use.
Source: Chen et al., "Microsoft COCO Captions", arXiv 1504.00325.
"""

from __future__ import annotations

from typing import Any

from weaksup.corpora.builder import CorpusBuilder, normalise_id
from weaksup.corpora.reader import READERS, Fit, Reader
from weaksup.corpora.source import Source
from weaksup.types import Corpus
from weaksup.wording import counted

NAME = "coco"


def fit(source: Source) -> Fit:
    """Whether it is JSON with ``images`` and ``annotations`` that have a ``caption``."""
    if not source.head.startswith("{") or not source.mentions("images", "annotations"):
        return Fit.NO
    return Fit.YES if source.mentions("caption") else Fit.PARTLY


def read(source: Source) -> Corpus:
    """Ids are ``file_name``; captions are in the order of ``annotations``.

    Raises:
        DataError: see :meth:`CorpusBuilder.add` and :meth:`Source.field`; also if an annotation's
            image is not listed, or one image number has two file names.
    """
    content = source.json()
    builder = CorpusBuilder(source, NAME)
    files = _add_images(source, builder, source.field(content, "images", list, where=""))
    _add_annotations(source, builder, files, source.field(content, "annotations", list, where=""))
    return builder.build()


def _add_images(source: Source, builder: CorpusBuilder, records: list[Any]) -> dict[object, str]:
    files: dict[object, str] = {}
    repeated = 0
    for position, record in enumerate(records):
        where = f"images[{position}]"
        name = source.field(record, "file_name", str, where=where)
        number = _number(source, record, "id", where)
        known = files.setdefault(number, name)
        if normalise_id(known) != normalise_id(name):
            raise source.error(
                f"image id {number} is '{name}' here and '{known}' before", where=where
            )
        split = None
        if record.get("split") is not None:
            split = source.field(record, "split", str, where=where)
        repeated += name in builder
        builder.add(name, (), split=split, where=where)
    if repeated:
        again = counted(repeated, "image is", "images are")
        builder.notes.append(f"{again} listed again: captions were joined")
    return files


def _add_annotations(
    source: Source, builder: CorpusBuilder, files: dict[object, str], records: list[Any]
) -> None:
    seen: set[object] = set()
    repeated = 0
    for position, record in enumerate(records):
        where = f"annotations[{position}]"
        caption = source.field(record, "caption", str, where=where)
        number = _number(source, record, "image_id", where)
        if number not in files:
            raise source.error(
                f"image_id {number} is in no entry of 'images'",
                "the file is incomplete, or was joined from parts of two files",
                where=where,
            )
        # Joined files repeat whole annotations, and those have the same id; two people writing
        # the same sentence about an image have not, and both count.
        key = (number, record.get("id"), caption)
        if record.get("id") is not None and key in seen:
            repeated += 1
            continue
        seen.add(key)
        builder.add(files[number], (caption,), where=where)
    if repeated:
        builder.notes.append(f"{repeated} annotations that are there twice were dropped")


def _number(source: Source, record: dict[str, Any], key: str, where: str) -> object:
    """An image's number; some tools write it as a string, so ``1`` and ``"1"`` are the same."""
    if isinstance(record.get(key), str):
        return record[key]
    return str(source.field(record, key, int, where=where))


READERS.register(NAME)(Reader(fit=fit, read=read))
