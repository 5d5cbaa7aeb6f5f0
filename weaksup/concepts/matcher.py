"""Find concepts in text: by lemma, several words, aliases; the longest name wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from weaksup.concepts.language import English, Sentence
from weaksup.concepts.model import ATTRIBUTE, KINDS, OBJECT, Concept, Vocabulary
from weaksup.concepts.names import Key, key_of, key_variants


class Span(NamedTuple):
    """Words ``start`` to ``stop`` of a sentence name concept ``row``."""

    row: int
    start: int
    stop: int


class Matcher:
    """Looks up every run of words, from the left, the longest first.

    "Traffic lights" is the traffic light and not a light; the words of a match are used up. A
    word that is the name of an object and of an attribute ("orange") is the attribute where a
    tagger says adjective or, without a tagger, where it is no plural and a noun or another
    attribute follows; or else it is the object. A tagger also keeps verbs from being objects
    ("they watch"); without one they are taken for nouns.

    Args:
        vocabulary: what to look for. Where two concepts of one kind share a name, the first
            has it.
        english: the pipeline; loaded if not given.
    """

    def __init__(self, vocabulary: Vocabulary, *, english: English | None = None) -> None:
        self.concepts = vocabulary.concepts
        self.english = english if english is not None else English()
        self._rows: dict[str, dict[Key, int]] = {kind: {} for kind in KINDS}
        names = [(row, name) for row, concept in enumerate(self.concepts) for name in concept.names]
        sentences = self.english.read(name for _, name in names)
        for (row, _), sentence in zip(names, sentences, strict=True):
            if not sentence.words:
                continue
            kind = self.concepts[row].kind
            key = key_of(sentence.words, kind, self.english.lemmas)
            for variant in key_variants(key, kind):
                self._rows[kind].setdefault(variant, row)
        self._known: dict[str, tuple[int | None, int | None]] = {}
        self._longest: dict[str, int] = {}  # first word of a longer name -> its most words
        for key in (*self._rows[OBJECT], *self._rows[ATTRIBUTE]):
            if len(key) > 1:
                self._longest[key[0]] = max(len(key), self._longest.get(key[0], 0))

    def find(self, text: str) -> list[Concept]:
        """The concepts that ``text`` names, in its order, as often as it names them."""
        return [self.concepts[span.row] for span in self.spans(next(self.english.read([text])))]

    def count(self, captions: Iterable[str]) -> Counter[Concept]:
        """How many captions name each concept; a caption counts once."""
        sentences = self.english.read(captions)
        rows = Counter(row for s in sentences for row in {span.row for span in self.spans(s)})
        return Counter({self.concepts[row]: count for row, count in sorted(rows.items())})

    def spans(self, sentence: Sentence) -> list[Span]:
        """Where the concepts are, in the order of the text; spans do not overlap."""
        found = []
        start, words = 0, sentence.words
        while start < len(words):
            first = self.english.lemmas.spelling(words[start])
            longest = min(self._longest.get(first, 1), len(words) - start)
            for length in range(longest, 0, -1):
                row = self._look_up(sentence, start, start + length)
                if row is not None:
                    found.append(Span(row, start, start + length))
                    start += length
                    break
            else:
                start += 1
        return found

    def _look_up(self, sentence: Sentence, start: int, stop: int) -> int | None:
        words = sentence.words[start:stop]
        thing, quality = self._named(words[0]) if len(words) == 1 else self._owners(words)
        if thing is None:
            return quality
        if quality is not None:
            return quality if self._describes(sentence, stop) else thing
        verb = len(words) == 1 and sentence.tags and sentence.tags[start] in ("VERB", "AUX")
        return None if verb else thing

    def _named(self, word: str) -> tuple[int | None, int | None]:
        # Nearly every look-up is of one word, and text has few different ones.
        if word not in self._known:
            self._known[word] = self._owners((word,))
        return self._known[word]

    def _owners(self, words: Key) -> tuple[int | None, int | None]:
        """The rows of the object and of the attribute that ``words`` name."""
        thing, quality = (
            self._rows[kind].get(key_of(words, kind, self.english.lemmas))
            for kind in (OBJECT, ATTRIBUTE)
        )
        return thing, quality

    def _describes(self, sentence: Sentence, stop: int) -> bool:
        """Whether the words before ``stop`` are an attribute rather than the object."""
        if sentence.tags:
            return sentence.tags[stop - 1] == "ADJ"
        last = sentence.words[stop - 1]
        if self.english.lemmas.noun(last) != last or stop == len(sentence.words):
            return False
        following = sentence.words[stop]
        is_noun = self.english.lemmas.is_noun(following) and self.english.is_content(following)
        return is_noun or self._named(following)[1] is not None
