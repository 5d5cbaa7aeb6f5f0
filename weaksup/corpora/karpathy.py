"""Karpathy's split files: ``dataset_coco.json``, ``dataset_flickr30k.json`` and their like.

``{"images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg",
"split": "test", "sentences": [{"raw": "A man with a red helmet ...", ...}, ...], ...}, ...]}``;
``filepath`` is there for COCO only. Source: Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments
for Generating Image Descriptions", CVPR 2015.
"""

from __future__ import annotations

from weaksup.corpora.builder import CorpusBuilder
from weaksup.corpora.reader import READERS, Fit, Reader
from weaksup.corpora.source import Source
from weaksup.types import Corpus
from weaksup.wording import counted

NAME = "karpathy"


def fit(source: Source) -> Fit:
    """Whether it is JSON with ``images`` that have ``sentences``."""
    if not source.head.startswith("{"):
        return Fit.NO
    return Fit.YES if source.mentions("images", "sentences") else Fit.NO


def read(source: Source) -> Corpus:
    """Ids are ``filepath/filename``; captions are ``sentences[].raw``.

    Raises:
        DataError: see :meth:`CorpusBuilder.add` and :meth:`Source.field`.
    """
    builder = CorpusBuilder(source, NAME)
    repeated = 0
    for position, record in enumerate(source.field(source.json(), "images", list, where="")):
        where = f"images[{position}]"
        name = source.field(record, "filename", str, where=where)
        if record.get("filepath"):
            name = f"{source.field(record, 'filepath', str, where=where)}/{name}"
        sentences = source.field(record, "sentences", list, where=where)
        captions = [
            source.field(sentence, "raw", str, where=f"{where}.sentences[{number}]")
            for number, sentence in enumerate(sentences)
        ]
        split = None
        if record.get("split") is not None:
            split = source.field(record, "split", str, where=where)
        repeated += name in builder
        builder.add(name, captions, split=split, where=where)
    if repeated:
        again = counted(repeated, "image is", "images are")
        builder.notes.append(f"{again} listed again: captions were joined")
    return builder.build()


READERS.register(NAME)(Reader(fit=fit, read=read))
