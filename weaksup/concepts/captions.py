"""What the kept training captions add to the concepts: counts, aliases and new words.

Only captions that training may see must come here; everything that earlier captions had added is
taken out first, so that another subsample leaves no trace.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from weaksup.concepts.file import read_concepts, write_concepts
from weaksup.concepts.language import English, Sentence
from weaksup.concepts.matcher import Matcher, Span
from weaksup.concepts.model import ATTRIBUTE, FROM_CAPTIONS, OBJECT, Concept, Vocabulary
from weaksup.concepts.vocabulary import add_meanings
from weaksup.concepts.wordnet import find_wordnet

# After these, or after an attribute, comes a noun with its adjectives.
_OPENERS = frozenset(
    {"a", "an", "the", "his", "her", "its", "their", "some", "several", "two", "three"}
    | {"from", "in", "into", "near", "of", "on", "through", "wearing", "with"}
)
_NOMINAL = 0.2  # share of its mentions that must show a word as a noun or an adjective


@dataclass(frozen=True)
class CaptionWords:
    """What captions added.

    Attributes:
        captions: how many there were.
        matched: how many of them name a concept that was there before.
        aliases: pairs of concept name and alias.
        added: the concepts that the detector does not know, the most frequent first.
        wordnet: whether WordNet was there to give them synonyms and hypernyms.
    """

    captions: int
    matched: int
    aliases: tuple[tuple[str, str], ...]
    added: tuple[Concept, ...]
    wordnet: bool


def add_caption_counts(
    path: Path, captions: Sequence[str], *, minimum: int = 5, english: English | None = None
) -> CaptionWords:
    """Count the concepts of a ``concepts.json`` in captions, and add what they bring.

    Args:
        path: the file; it is rewritten.
        captions: the kept captions of annotated training images, and no others.
        minimum: how many captions must hold a new word or alias.
        english: the pipeline; loaded if not given.

    Raises:
        DataError: if the file is missing or damaged.
    """
    vocabulary = read_concepts(path)
    english = english if english is not None else English()
    known = [
        replace(concept, caption_aliases=(), captions=None)
        for concept in vocabulary.concepts
        if concept.origin != FROM_CAPTIONS
    ]
    sentences = list(english.read(captions))
    aliases = _aliases(known, sentences, english=english, minimum=minimum)
    known = [replace(c, caption_aliases=aliases[row]) for row, c in enumerate(known)]
    matcher = Matcher(Vocabulary(tuple(known)), english=english)
    matches = [matcher.spans(sentence) for sentence in sentences]
    counts = Counter(row for spans in matches for row in {span.row for span in spans})
    known = [replace(concept, captions=counts[row]) for row, concept in enumerate(known)]
    new = _new_words(sentences, matches, known=known, english=english, minimum=minimum)
    wordnet = find_wordnet()
    added = add_meanings(new, wordnet)
    sources = {**vocabulary.sources, "spacy": english.name}
    write_concepts(path, replace(vocabulary, concepts=(*known, *added), sources=sources))
    return CaptionWords(
        captions=len(sentences),
        matched=sum(map(bool, matches)),
        aliases=tuple((c.name, alias) for c in known for alias in c.caption_aliases),
        added=added,
        wordnet=wordnet is not None,
    )


def _aliases(
    known: Sequence[Concept], sentences: Sequence[Sentence], *, english: English, minimum: int
) -> list[tuple[str, ...]]:
    """For each concept, the synonyms and other spellings of it in ``minimum`` captions or more.

    Other spellings are a compound in one word ("hotdog") and one word in two ("skate board").
    """
    owners = [(row, synonym) for row, c in enumerate(known) for synonym in c.synonyms]
    owners += [
        (row, "".join(words))
        for row, c in enumerate(known)
        for name in c.names
        if len(words := name.replace("-", " ").split()) > 1
    ]
    # As concepts of their own behind the known ones, which therefore keep their names.
    candidates = [Concept(name, known[row].kind) for row, name in owners]
    matcher = Matcher(Vocabulary((*known, *candidates)), english=english)
    single = {c.name: row for row, c in enumerate(known) if c.kind == OBJECT and c.name.isalpha()}
    captions: Counter[tuple[int, str]] = Counter()
    for sentence in sentences:
        rows = [span.row - len(known) for span in matcher.spans(sentence)]
        found = {owners[row] for row in rows if row >= 0}
        for first, second in pairwise(sentence.words):
            head = english.lemmas.noun(second)
            if first + head in single:
                found.add((single[first + head], f"{first} {head}"))
        captions.update(found)
    names: list[list[str]] = [[] for _ in known]
    for row, name in sorted(owner for owner, count in captions.items() if count >= minimum):
        names[row].append(name)
    return [tuple(aliases) for aliases in names]


@dataclass
class _Evidence:
    """How captions use one word: in how many, and in which places."""

    captions: int = 0
    mentions: int = 0
    noun: int = 0
    adjective: int = 0


def _new_words(
    sentences: Sequence[Sentence],
    matches: Sequence[Sequence[Span]],
    *,
    known: Sequence[Concept],
    english: English,
    minimum: int,
) -> list[Concept]:
    """Nouns and adjectives outside all matches, in ``minimum`` captions or more.

    A tagger says what a word is. Without one, the tables and its place do. A place is good after
    a determiner, a preposition or an adjective in a good place; there, a word that can be an
    adjective is one if a noun or an adjective follows, and every other word is a noun. A word that
    is seldom seen in a good place is a verb or an adverb.
    """
    attributes = {row for row, concept in enumerate(known) if concept.kind == ATTRIBUTE}
    evidence: defaultdict[str, _Evidence] = defaultdict(_Evidence)
    for sentence, spans in zip(sentences, matches, strict=True):
        row_at = {place: span.row for span in spans for place in range(span.start, span.stop)}
        seen = set()
        before: str | None = None  # the kind of the word before, where its place shows it
        for place, word in enumerate(sentence.words):
            if place in row_at:
                before = ATTRIBUTE if row_at[place] in attributes else None
                continue
            good = before == ATTRIBUTE or (place > 0 and sentence.words[place - 1] in _OPENERS)
            before = _kind_in_place(sentence, place, english, good=good)
            if not english.is_content(word):
                continue
            base = _base(word, english)
            use = evidence[base]
            use.mentions += 1
            use.captions += base not in seen
            seen.add(base)
            use.noun += before == OBJECT
            use.adjective += before == ATTRIBUTE
    new = [
        Concept(
            name=base,
            kind=ATTRIBUTE if use.adjective > use.noun else OBJECT,
            origin=FROM_CAPTIONS,
            captions=use.captions,
        )
        for base, use in evidence.items()
        if use.captions >= minimum
        and use.noun + use.adjective >= _NOMINAL * use.mentions
        and (use.adjective > use.noun or english.lemmas.is_noun(base))
    ]
    return sorted(new, key=lambda concept: (-(concept.captions or 0), concept.name))


def _base(word: str, english: English) -> str:
    lemmas = english.lemmas
    return lemmas.noun(word) if lemmas.is_noun(word) else lemmas.adjective(word)


def _kind_in_place(sentence: Sentence, place: int, english: English, *, good: bool) -> str | None:
    """``object`` or ``attribute`` where a tag or a good place shows it."""
    if sentence.tags:
        return {"NOUN": OBJECT, "ADJ": ATTRIBUTE}.get(sentence.tags[place])
    word, following = (*sentence.words, "")[place : place + 2]
    if not good or not english.is_content(word):
        return None
    lemmas = english.lemmas
    more = lemmas.is_noun(following) or lemmas.is_adjective(following)
    adjective = more and english.is_content(following) and lemmas.is_adjective(word)
    return ATTRIBUTE if adjective else OBJECT
