"""A captions format: lines such as ``beach/001.jpg -> Two children build a castle.``"""

from weaksup.corpora import READERS, Fit, Reader
from weaksup.corpora.builder import CorpusBuilder

ARROW = " -> "


def fit(source):
    return Fit.YES if ARROW in source.first_line else Fit.NO


def read(source):
    builder = CorpusBuilder(source, "arrow")
    for line, text in source.lines():
        image, arrow, caption = text.partition(ARROW)
        if not arrow:
            raise source.error(
                f"expected IMAGE{ARROW}CAPTION, got '{text[:60]}'", where=f"line {line}"
            )
        builder.add(image, (caption,), where=f"line {line}")
    return builder.build()


READERS.register("arrow")(Reader(fit=fit, read=read))
