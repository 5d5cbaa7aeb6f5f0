"""Sentences to words: a spaCy pipeline, with a tagger where one is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import spacy
from spacy.lang.en.stop_words import STOP_WORDS
from spacy.util import is_package

from weaksup.concepts.lemmas import Lemmas

MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")
_BLANK = "blank en, spacy-lookups-data {}"
_UNUSED = ["ner", "parser", "senter", "lemmatizer"]


def installed_model() -> str | None:
    """The largest installed ``en_core_web`` pipeline."""
    return next((name for name in MODELS if is_package(name)), None)


def pipeline_name() -> str:
    """What `English` would load, with its version, without loading it."""
    model = installed_model()
    return f"{model} {version(model)}" if model else _BLANK.format(version("spacy-lookups-data"))


@dataclass(frozen=True)
class Sentence:
    """One text.

    Attributes:
        words: lower case; hyphens are left out, so that "t-shirt" is two words.
        tags: universal part-of-speech tags, one a word; empty without a tagger.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] = ()


class English:
    """A spaCy pipeline and the lemma tables.

    Args:
        model: an installed pipeline's name, or its folder. By default the largest installed
            ``en_core_web`` one, or else a blank pipeline, which has no tagger.

    Attributes:
        name: what the pipeline is, with its version; goes into ``concepts.json``.
        tagged: whether sentences come with tags.
        lemmas: base forms of single words.
    """

    def __init__(self, model: str | Path | None = None) -> None:
        chosen = model or installed_model()
        self.lemmas = Lemmas()
        if chosen is None:
            self._nlp = spacy.blank("en")
            self.name = pipeline_name()
        else:
            self._nlp = spacy.load(chosen, exclude=_UNUSED)
            meta = self._nlp.meta
            self.name = f"{meta['lang']}_{meta['name']} {meta['version']}"
        # These two set the universal tags; a tagger alone sets the treebank's.
        self.tagged = bool({"attribute_ruler", "morphologizer"} & set(self._nlp.pipe_names))

    def read(self, texts: Iterable[str]) -> Iterator[Sentence]:
        """Split texts into words, and tag them where the pipeline can."""
        for doc in self._nlp.pipe(texts):
            tokens = [token for token in doc if token.text != "-" and not token.is_space]
            words = tuple(token.lower_ for token in tokens)
            yield Sentence(words, tuple(token.pos_ for token in tokens) if self.tagged else ())

    def is_content(self, word: str) -> bool:
        """Whether a word carries meaning of its own: no stop word, number or punctuation."""
        lexeme = self._nlp.vocab[word]
        return len(word) > 1 and word.isalpha() and not lexeme.like_num and word not in STOP_WORDS
