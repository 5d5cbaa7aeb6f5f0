"""Synonyms and hypernyms from WordNet, where its data is installed."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from weaksup.concepts.model import OBJECT

FOLDER_VARIABLE = "WEAKSUP_WORDNET"
NOTICE = (
    "WordNet was not found, so concepts have no synonyms and no hypernyms. To get it: "
    "`python -m nltk.downloader wordnet`, or on Debian and Ubuntu `apt-get install wordnet-base`; "
    f"a folder elsewhere is named by ${FOLDER_VARIABLE}."
)

_DEBIAN = Path("/usr/share/wordnet")
_LEXICOGRAPHER_FILES = 45
# Lexicographer files (lexnames(5WN)) of things that a camera can see: Tops, animal, artifact,
# body, food, object, plant, substance; and person.
_THINGS = frozenset({"03", "05", "06", "08", "13", "17", "20", "27"})
_PERSON = "18"
# The top of the hierarchy says nothing of a concept.
_TOP = {"abstraction", "causal agent", "entity", "matter", "object", "physical entity", "whole"}


@dataclass(frozen=True)
class Meaning:
    """What WordNet says of a name.

    Attributes:
        synonyms: other names that mean it before all else ("couch": "sofa", "lounge").
        shared: all other names of the sense, also those that mean something else first.
        hypernyms: more general names, the nearest first.
    """

    synonyms: tuple[str, ...]
    shared: tuple[str, ...]
    hypernyms: tuple[str, ...]


class WordNet:
    """WordNet, read through NLTK.

    One sense stands for a name. For an object it is the first (the most frequent) if WordNet's
    own texts attest it and it is a thing or a person; else its first sense that is a thing, so
    that a kite is no cheque; else the first. For an attribute it is the first adjective. There is
    no look at the context: "mouse" is the animal also for a detector that means the device.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.version = f"WordNet {reader.get_version()}"

    def meaning(self, name: str, kind: str) -> Meaning | None:
        """Synonyms and hypernyms, or None for a name that WordNet lacks.

        A compound that WordNet lacks is a kind of its last word: "potted plant" has the hypernym
        "plant" and what is above it, and no synonym.
        """
        sense = self._sense(name, kind)
        if sense is None:
            head = name.rpartition(" ")[2]
            above = self._sense(head, kind) if kind == OBJECT and head != name else None
            return None if above is None else Meaning((), (), (head, *self._above(above)))
        shared = tuple(other for other in _names(sense) if other != name)
        synonyms = tuple(
            other
            for other in shared
            # "glove" is more than a baseball glove, whatever its first sense.
            if self._sense(other, kind) == sense and not name.endswith(f" {other}")
        )
        return Meaning(synonyms, shared, self._above(sense))

    def lineage(self, names: Sequence[str], *, least_depth: int) -> tuple[str, ...]:
        """All names of the thing that ``names`` call, and of what it is, the nearest first.

        Args:
            names: of one thing. The sense is the noun that has most of them; of equals, one that
                writes them alike, so that a crane is no constellation; of these, the one that
                ``meaning`` takes for the first name.
            least_depth: of the more general senses, those at least so far below "entity".

        Returns:
            Names, lower case, each once. A name that WordNet lacks is a kind of its last word.
        """
        sense = self._sense_of_all(names)
        if sense is None:
            sense = self._sense(names[0].lower().rpartition(" ")[2], OBJECT)
        if sense is None:
            return ()
        found, level = list(_names(sense)), [sense]
        while level:
            above = dict.fromkeys(other for each in level for other in _hypernyms(each))
            # Of equally near ones, the more special first: a dog is a canine, then an animal.
            level = sorted(above, key=lambda each: -each.min_depth())
            kept = (each for each in level if each.min_depth() >= least_depth)
            found += [name for each in kept for name in _names(each)]
        return tuple(dict.fromkeys(found))

    def _sense_of_all(self, names: Sequence[str]) -> Any | None:
        written = [name.replace(" ", "_") for name in names]
        lower = {name.lower() for name in written}
        votes = {
            sense: (
                len(lower.intersection(map(str.lower, sense.lemma_names()))),
                len(set(written).intersection(sense.lemma_names())),
            )
            for name in written
            for sense in self._reader.synsets(name.lower(), pos="n")
        }
        most = max(votes.values(), default=(0, 0))
        if not most[0]:  # WordNet also answers with the base form of a plural, which is no name
            return None
        best = [sense for sense, count in votes.items() if count == most]
        preferred = self._sense(names[0].lower(), OBJECT)
        return preferred if preferred in best else best[0]

    def _sense(self, name: str, kind: str) -> Any | None:
        # morphy would reduce "glasses" to "glass": only the very word counts.
        written = name.replace(" ", "_")
        if kind != OBJECT:
            return next(iter(self._reader.synsets(written, pos="a")), None)
        senses = [
            sense
            for sense in self._reader.synsets(written, pos="n")
            if written in map(str.lower, sense.lemma_names())
        ]
        if not senses:
            return None
        first = senses[0]
        attested = any(lemma.count() for lemma in first.lemmas() if lemma.name().lower() == written)
        if attested and first.lexname() in _THINGS | {_PERSON}:
            return first
        things = (sense for sense in senses if sense.lexname() in _THINGS)
        return next(things, first)

    def _above(self, sense: Any) -> tuple[str, ...]:
        names = [_plain(above.lemma_names()[0]) for above in sense.closure(_hypernyms)]
        return tuple(dict.fromkeys(name for name in names if name not in _TOP))


def find_wordnet() -> WordNet | None:
    """WordNet from NLTK's data folders or Debian's ``wordnet-base``; None if there is none.

    ``$WEAKSUP_WORDNET``, where set, is the only folder that is looked at.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    return _load((Path(named),)) if named else _load(None)


@cache
def _load(folders: tuple[Path, ...] | None) -> WordNet | None:
    pointer = _pointer((_DEBIAN,) if folders is None else folders, everywhere=folders is None)
    if pointer is None:
        return None
    with warnings.catch_warnings():
        # NLTK warns that without its multilingual data there are no other languages.
        warnings.simplefilter("ignore")
        return WordNet(_reader_class()(pointer, None))


def _pointer(folders: Sequence[Path], *, everywhere: bool) -> Any | None:
    """NLTK's handle of the first folder or archive that holds WordNet."""
    import nltk.data

    for resource in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/") if everywhere else ():
        try:
            return nltk.data.find(resource)
        except LookupError:
            continue
    for folder in folders:
        if (folder / "data.noun").is_file():
            # NLTK reads below its own data path only, and this is its way to allow a folder.
            if str(folder) not in nltk.data.path:
                nltk.data.path.append(str(folder))
            return nltk.data.FileSystemPathPointer(str(folder))
    return None


def _reader_class() -> type:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):  # type: ignore[misc]
        """Does without two things that Debian's package lacks and English does not need."""

        def open(self, file: str) -> Any:
            """Number the lexicographer files instead of reading their names."""
            if file == "lexnames":
                rows = (f"{row:02d}\t{row:02d}\t0\n" for row in range(_LEXICOGRAPHER_FILES))
                return io.StringIO("".join(rows))
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """Skip the map from another WordNet version, which the other languages need."""

    return Reader


def _hypernyms(sense: Any) -> list[Any]:
    """What is directly above, in one order: NLTK has a set, whose order every process makes anew.

    A store is gone on with, and put together of shards, by processes that must have equal words.
    """
    return sorted(sense.hypernyms())


def _names(sense: Any) -> tuple[str, ...]:
    """The English names of a sense; capitalised ones of several words are Latin."""
    names = (name for name in sense.lemma_names() if not ("_" in name and name[0].isupper()))
    return tuple(map(_plain, names))


def _plain(name: str) -> str:
    return name.replace("_", " ").lower()
