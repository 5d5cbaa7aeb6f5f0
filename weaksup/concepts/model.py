"""What a concept is, and what a vocabulary holds. Neither spaCy nor NLTK is needed here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from weaksup.types import Int32

OBJECT, ATTRIBUTE = "object", "attribute"
KINDS = (OBJECT, ATTRIBUTE)
FROM_DETECTOR, FROM_LIST, FROM_CAPTIONS = "detector", "list", "captions"
ORIGINS = (FROM_DETECTOR, FROM_LIST, FROM_CAPTIONS)


@dataclass(frozen=True)
class Concept:
    """A thing or a property that regions and captions can name.

    Attributes:
        name: lower case, singular, several words kept ("traffic light").
        kind: ``object`` or ``attribute``; "orange" may be both, as two concepts.
        aliases: other names that mean the same and are matched in text.
        synonyms: by WordNet; not matched in text.
        hypernyms: by WordNet, the nearest first ("dog": "canine", "carnivore", ...).
        origin: who brought it: ``detector``, ``list`` (the user's) or ``captions``.
        caption_aliases: aliases that the kept training captions brought; matched in text.
        captions: how many kept training captions name it; None before they were counted.
        regions: how many regions of the score threshold or more the detector gave it.
    """

    name: str
    kind: str
    aliases: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    hypernyms: tuple[str, ...] = ()
    origin: str = FROM_DETECTOR
    caption_aliases: tuple[str, ...] = ()
    captions: int | None = None
    regions: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that text may call it, the name itself first."""
        return (self.name, *self.aliases, *self.caption_aliases)


def _no_rows() -> Int32:
    return np.zeros(0, np.int32)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The concepts of one workspace, and where the detector's labels go.

    Attributes:
        concepts: in the order of the store's vocabularies, objects and attributes apart.
        sources: what named and described them: ``spacy`` and ``wordnet`` (None without it).
        object_rows: (labels,) int32: detector label to row of ``objects``, -1 where a user's list
            leaves the label out. Empty for a vocabulary that was read from a file.
        attribute_rows: the same for attribute labels and ``attributes``.
        notes: what was merged or left out, a sentence each.
        unmatched: concepts of a user's list that no label of the detector has a name of, in the
            order of the list's; only captions can name them.
        store: the region store whose words and counts these are, from the folder that the file of
            this vocabulary is in; None where that is not known.
    """

    concepts: tuple[Concept, ...]
    sources: dict[str, str | None] = field(default_factory=dict)
    object_rows: Int32 = field(default_factory=_no_rows)
    attribute_rows: Int32 = field(default_factory=_no_rows)
    notes: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    store: str | None = None

    def of(self, kind: str) -> tuple[Concept, ...]:
        """The concepts of one kind."""
        return tuple(concept for concept in self.concepts if concept.kind == kind)

    @property
    def objects(self) -> tuple[str, ...]:
        """Names for the store's ``/vocabulary/object``."""
        return tuple(concept.name for concept in self.of(OBJECT))

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names for the store's ``/vocabulary/attribute``."""
        return tuple(concept.name for concept in self.of(ATTRIBUTE))

    def with_regions(self, *, objects: Int32, attributes: Int32) -> Vocabulary:
        """Return the vocabulary with region counts.

        Args:
            objects: (number of objects,) regions of each object concept.
            attributes: (number of attributes,) regions of each attribute concept.

        Raises:
            ValueError: if a length is not the vocabulary's.
        """
        given = {OBJECT: objects, ATTRIBUTE: attributes}
        counts = {}
        for kind in KINDS:
            if len(given[kind]) != len(self.of(kind)):
                raise ValueError(f"{len(given[kind])} counts for {len(self.of(kind))} {kind}s")
            counts[kind] = iter(given[kind].tolist())
        concepts = tuple(replace(c, regions=int(next(counts[c.kind]))) for c in self.concepts)
        return replace(self, concepts=concepts)
