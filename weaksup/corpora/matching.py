"""From the names of images in a captions file to the ids of a region store."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from weaksup.corpora.splits import assign_splits
from weaksup.errors import DataError
from weaksup.types import Corpus
from weaksup.wording import counted

EXAMPLES = 3
HINT = "give `weaksup extract` the image folder that the names in the captions file are relative to"
# More than any name has parts.
EQUAL = 1 << 30


def match_ids(corpus: Corpus, store_ids: Sequence[str]) -> Corpus:
    """Give captioned images the ids of the store; drop those that the store lacks, with a note.

    A name is the store's id that it equals; else the one that ends in ``/`` and the name; else
    the longest one that the name ends in after a ``/``. Splits are assigned first, since a hash
    of the new ids would split otherwise. The fingerprint stays that of the file.

    Raises:
        DataError: if a name fits several images of the store or an image of the store several
            names, or if nothing fits.
    """
    corpus = assign_splits(corpus)
    matches = match_names([image.id for image in corpus.images], store_ids)
    images = tuple(
        replace(image, id=matches[image.id]) for image in corpus.images if image.id in matches
    )
    lacking = [image.id for image in corpus.images if image.id not in matches]
    if not lacking:
        return replace(corpus, images=images)
    if not images:
        raise DataError(
            f"{corpus.source} has {counted(len(lacking), 'image')}, and none is in the region "
            f"store: '{lacking[0]}' is an image there, '{next(iter(store_ids), '')}' here",
            HINT,
        )
    note = (
        f"{counted(len(lacking), 'captioned image is', 'captioned images are')} not, or not "
        "readable, in the region store, such as "
        f"{lacking[0]}"
    )
    return replace(corpus, images=images, notes=(*corpus.notes, note))


def match_names(names: Iterable[str], store_ids: Sequence[str]) -> dict[str, str]:
    """Name to store id, for the names that have one; by the rule of :func:`match_ids`.

    Raises:
        DataError: if a name fits several ids, or an id several names.
    """
    by_id = {unicodedata.normalize("NFC", store_id): store_id for store_id in store_ids}
    by_end: dict[str, list[str]] = {}
    for key, store_id in by_id.items():
        for end in _ends(key):
            by_end.setdefault(end, []).append(store_id)
    # store id -> how many parts agree -> the names that claim it with so many
    claims: dict[str, dict[int, list[str]]] = {}
    ambiguous: dict[str, list[str]] = {}
    for name in names:
        if name in by_id:
            store_id, strength = by_id[name], EQUAL
        elif name in by_end:
            if len(by_end[name]) > 1:
                ambiguous[name] = by_end[name]
                continue
            store_id, strength = by_end[name][0], name.count("/") + 1
        else:
            common = next((end for end in _ends(name) if end in by_id), "")
            if not common:
                continue
            store_id, strength = by_id[common], common.count("/") + 1
        claims.setdefault(store_id, {}).setdefault(strength, []).append(name)
    _refuse(ambiguous, "captioned images fit several images of the region store each")
    # With the images a/1.jpg missing from the store, its name would still end in /1.jpg: the name
    # that agrees in more parts has the better claim.
    best = {store_id: by_strength[max(by_strength)] for store_id, by_strength in claims.items()}
    rivals = {store_id: names for store_id, names in best.items() if len(names) > 1}
    _refuse(rivals, "images of the region store fit several captioned images each")
    return {names[0]: store_id for store_id, names in best.items()}


def _ends(path: str) -> Iterator[str]:
    """``b/c.jpg`` and ``c.jpg`` for ``a/b/c.jpg``: what is left after a ``/``, longest first."""
    while "/" in path:
        path = path.partition("/")[2]
        yield path


def _refuse(conflicts: dict[str, list[str]], problem: str) -> None:
    if not conflicts:
        return
    examples = "; ".join(
        f"'{name}' fits {', '.join(repr(item) for item in fits[:EXAMPLES])}"
        + (" and others" if len(fits) > EXAMPLES else "")
        for name, fits in list(conflicts.items())[:EXAMPLES]
    )
    raise DataError(f"{len(conflicts)} {problem}: {examples}", HINT)
