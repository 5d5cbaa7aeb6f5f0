r"""Flickr8k's and Flickr30k's token files: ``1000268201_693b08cb0e.jpg#0\tA child ...``.

Splits are in lists beside the token file, an image's name a line: ``*trainImages.txt``,
``*devImages.txt``, ``*testImages.txt``. Source: Hodosh, Young and Hockenmaier, "Framing Image
Description as a Ranking Task", JAIR 2013.
"""

from __future__ import annotations

import re

from weaksup.corpora.builder import CorpusBuilder
from weaksup.corpora.reader import READERS, Fit, Reader
from weaksup.corpora.source import Source
from weaksup.types import TEST, TRAIN, VAL, Corpus
from weaksup.wording import counted

NAME = "flickr"
LINE = re.compile(r"(?P<image>[^\t]+)#(?P<number>\d+)\t(?P<caption>.*)")
LISTS = {"trainimages.txt": TRAIN, "devimages.txt": VAL, "testimages.txt": TEST}


def fit(source: Source) -> Fit:
    """Whether the first line is ``name#number``, a tab and a caption."""
    return Fit.YES if LINE.fullmatch(source.first_line) else Fit.NO


def read(source: Source) -> Corpus:
    """Captions of an image are in the order of their numbers.

    Raises:
        DataError: for a line of another form, or an image that two lists name.
    """
    builder = CorpusBuilder(source, NAME)
    captions: dict[str, list[tuple[int, int, str]]] = {}
    for line, text in source.lines():
        match = LINE.fullmatch(text)
        if match is None:
            raise source.error(
                f"expected NAME#NUMBER, a tab and a caption, got '{text[:60]}'",
                where=f"line {line}",
            )
        numbered = (int(match["number"]), line, match["caption"])
        captions.setdefault(match["image"], []).append(numbered)
    for image, numbered_captions in captions.items():
        for _, line, caption in sorted(numbered_captions):
            builder.add(image, (caption,), where=f"line {line}")
    _add_splits(source, builder)
    return builder.build()


def _add_splits(source: Source, builder: CorpusBuilder) -> None:
    found = False
    unknown = 0
    for path in sorted(source.path.resolve().parent.iterdir()):
        split = next((LISTS[end] for end in LISTS if path.name.lower().endswith(end)), None)
        if split is None or not path.is_file():
            continue
        found = True
        for line, name in Source(path).lines():
            if name in builder:
                builder.add(name, (), split=split, where=f"{path.name} line {line}")
            else:
                unknown += 1
    if not found:
        builder.notes.append(
            "no split lists (*trainImages.txt, *devImages.txt, *testImages.txt) are beside it"
        )
    if unknown:
        lacking = counted(unknown, "image")
        builder.notes.append(f"{lacking} of the split lists without a caption")


READERS.register(NAME)(Reader(fit=fit, read=read))
