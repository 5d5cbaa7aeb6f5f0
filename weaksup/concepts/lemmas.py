"""Base forms of single words, from the lemma tables of spacy-lookups-data.

spaCy's own lemmatizers do not fit names. The lookup one reads "scissors" as "scissor" and "left"
as "leave"; the rule one needs a tagger, takes every noun in -s for a plural ("bus": "bu") and, of
several readings, the verb's ("leaves": "leave"). The tables themselves (WordNet's exceptions and
word lists) are good; what stands here is how a name reads them.
"""

from __future__ import annotations

from spacy.lookups import Table, load_lookups

from weaksup.errors import MissingDependencyError

_TABLES = ["lemma_exc", "lemma_index", "lemma_rules", "lexeme_norm"]

# Plurals that name one thing, or another thing than their singular does. The tables cannot tell:
# they list "hands" and "eyes" as well.
_PLURALS = """
    binoculars boxers breeches briefs checkers clothes darts drawers eyeglasses fatigues fries
    glasses goggles headphones jeans khakis leggings overalls pajamas pants pliers scissors scrubs
    shears shorts slacks species spectacles sunglasses tights trousers trunks tweezers woods
"""
PLURAL_ONLY = frozenset(_PLURALS.split())
# Where the tables list the plural as a word of its own, or a rarer singular first.
_IRREGULAR = {
    "comics": "comic",
    "elves": "elf",
    "leaves": "leaf",
    "lures": "lure",
    "masses": "mass",
    "men": "man",
    "ottomans": "ottoman",
    "oxen": "ox",
    "people": "person",
    "peoples": "person",
    "soles": "sole",
    "taxis": "taxi",
    "teeth": "tooth",
}
_NOT_COMPARED = frozenset({"lesser", "outer"})  # "out" and "less" are adjectives, too
_SINGULAR_ENDINGS = ("ss", "us", "is")


class Lemmas:
    """Base forms of lower-case words; every answer is remembered.

    Raises:
        MissingDependencyError: if spacy-lookups-data is not installed.
    """

    def __init__(self) -> None:
        try:
            tables = load_lookups("en", _TABLES)
        except ValueError as error:
            raise MissingDependencyError(
                "spaCy's lemma tables are not installed", "pip install spacy-lookups-data"
            ) from error
        exceptions, index, rules = (tables.get_table(name) for name in _TABLES[:3])
        self._exceptions: dict[str, dict[str, list[str]]] = exceptions
        self._index = {kind: frozenset(index[kind]) for kind in ("noun", "adj", "verb")}
        self._rules: dict[str, list[list[str]]] = rules
        self._table: Table = tables.get_table("lexeme_norm")
        self._spellings: dict[str, str] = {}
        self._nouns: dict[str, str] = {}
        self._adjectives: dict[str, str] = {}

    def spelling(self, word: str) -> str:
        """The American spelling: "grey" to "gray"."""
        if word not in self._spellings:
            self._spellings[word] = str(self._table.get(word, word)) if word.isalpha() else word
        return self._spellings[word]

    def noun(self, word: str) -> str:
        """The singular: "people" to "person", "skis" to "ski"; "bus" and "scissors" stay."""
        if word not in self._nouns:
            # Twice, so that a base form is its own base form: a few rare plurals take two steps.
            self._nouns[word] = self._noun(self._noun(word))
        return self._nouns[word]

    def adjective(self, word: str) -> str:
        """The positive: "bigger" to "big", "largest" to "large"; "left" and "wooden" stay."""
        if word not in self._adjectives:
            self._adjectives[word] = self._adjective(word)
        return self._adjectives[word]

    def is_noun(self, word: str) -> bool:
        """Whether the tables list the word's singular as a noun."""
        return self.noun(word) in self._index["noun"]

    def is_adjective(self, word: str) -> bool:
        """Whether the tables list the word's positive as an adjective."""
        return self.adjective(word) in self._index["adj"]

    def _noun(self, word: str) -> str:
        known = self._index["noun"]
        if word in PLURAL_ONLY:
            return word
        if word in _IRREGULAR:
            return _IRREGULAR[word]
        if word in known and (word.endswith(_SINGULAR_ENDINGS) or not word.endswith("s")):
            return word
        exceptions = self._exceptions["noun"].get(word, [])
        # The table also lists some words as their own singular, rightly where it is a known noun.
        if exceptions and (exceptions[0] != word or word in known):
            return exceptions[0]
        # "as" and "gas" are no plurals of the nouns "a" and "ga".
        singulars = (form for form in self._forms(word, "noun") if form in known and len(form) > 2)
        plural_of_unknown = (
            word not in known
            and word.isalpha()
            and len(word) > 3
            and word.endswith("s")
            and not word.endswith(_SINGULAR_ENDINGS)
        )
        return next(singulars, word[:-1] if plural_of_unknown else word)

    def _adjective(self, word: str) -> str:
        if word in _NOT_COMPARED:
            return word
        if word in self._exceptions["adj"]:
            return self._exceptions["adj"][word][0]
        known = self._index["adj"]
        return next((form for form in self._forms(word, "adj") if form in known), word)

    def _forms(self, word: str, kind: str) -> list[str]:
        rules = self._rules[kind]
        return [word[: -len(old)] + new for old, new in rules if word.endswith(old)]
