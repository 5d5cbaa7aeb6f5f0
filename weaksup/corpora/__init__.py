"""Captions: reading them in any of the formats people have, and saying which are kept.

Readers register in :data:`READERS`; one file a format.
"""

from weaksup.corpora.annotations import fingerprint, read_annotations, write_annotations
from weaksup.corpora.find import find_captions, list_captions
from weaksup.corpora.matching import match_ids, match_names
from weaksup.corpora.read import READERS, Fit, Reader, detect_format, read_corpus
from weaksup.corpora.splits import assign_splits

__all__ = [
    "READERS",
    "Fit",
    "Reader",
    "assign_splits",
    "detect_format",
    "find_captions",
    "fingerprint",
    "list_captions",
    "match_ids",
    "match_names",
    "read_annotations",
    "read_corpus",
    "write_annotations",
]
