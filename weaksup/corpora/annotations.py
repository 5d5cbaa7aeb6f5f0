"""``annotations.json``: which training images keep which gold captions.

This file is the one door by which captions reach training, so reading it checks everything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weaksup.corpora.source import Source
from weaksup.errors import DataError
from weaksup.files import write_atomically
from weaksup.types import Annotations, CaptionedImage

FORMAT = "weaksup.annotations"
VERSION = 1
UNITS = ("image", "caption")


def fingerprint(images: Iterable[CaptionedImage]) -> str:
    """sha256 (hex) over ids, splits and captions.

    The order of the images plays no part, so that the same captions have the same fingerprint in
    every format; the order of an image's captions does.
    """
    digest = hashlib.sha256()
    for image in sorted(images, key=lambda image: image.id):
        record = [image.id, image.split, image.captions]
        digest.update(json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n")
    return digest.hexdigest()


def write_annotations(path: Path, annotations: Annotations) -> None:
    """Write ``annotations`` to ``path``: wholly or not at all.

    Raises:
        DataError: if the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "ratio": annotations.ratio,
        "unit": annotations.unit,
        "strategy": annotations.strategy,
        "seed": annotations.seed,
        "captions": annotations.captions,
        "fingerprint": annotations.fingerprint,
        "annotated": annotations.annotated,
        "unannotated": annotations.unannotated,
        "captions_kept": annotations.captions_kept,
    }
    # One line a key: a person can look at the top, and diff two files.
    items = (f"  {json.dumps(key)}: {json.dumps(content[key])}" for key in content)
    text = "{\n" + ",\n".join(items) + "\n}\n"
    write_atomically(path, text, hint="name another file with --out")


def read_annotations(path: Path) -> Annotations:
    """Read and check what :func:`write_annotations` wrote.

    Raises:
        DataError: if the file is missing, damaged, of an unknown version, or contradicts itself
            (an image both annotated and not, kept captions of an image that is not annotated).
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", "run `weaksup subsample` first")
    source = Source(path)
    content = source.json()
    if content.get("format") != FORMAT:
        raise source.error(
            f"is no annotations file: 'format' is {content.get('format')!r}, expected '{FORMAT}'",
            "make one with `weaksup subsample`",
        )
    if content.get("version") != VERSION:
        raise source.error(
            f"has version {content.get('version')!r}; this weaksup reads version {VERSION}",
            "update weaksup, or make the file anew with `weaksup subsample`",
        )
    ratio = content.get("ratio")
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
        raise source.error(f"'ratio' is {ratio!r}, expected a number over 0 and up to 1")
    unit = source.field(content, "unit", str, where="")
    if unit not in UNITS:
        raise source.error(f"'unit' is '{unit}', expected {' or '.join(UNITS)}")
    annotations = Annotations(
        ratio=float(ratio),
        unit=unit,
        strategy=source.field(content, "strategy", str, where=""),
        seed=source.field(content, "seed", int, where=""),
        captions=source.field(content, "captions", str, where=""),
        fingerprint=source.field(content, "fingerprint", str, where=""),
        annotated=_ids(source, content, "annotated"),
        unannotated=_ids(source, content, "unannotated"),
        captions_kept=_kept(source, content),
    )
    _check_consistent(source, annotations)
    return annotations


def _ids(source: Source, content: dict[str, Any], key: str) -> tuple[str, ...]:
    ids = source.field(content, key, list, where="")
    for position, item in enumerate(ids):
        if not isinstance(item, str):
            raise source.error("expected an image id", where=f"{key}[{position}]")
    if len(set(ids)) != len(ids):
        raise source.error(f"'{key}' names an image twice")
    return tuple(ids)


def _kept(source: Source, content: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    kept = source.field(content, "captions_kept", dict, where="")
    for image, indices in kept.items():
        where = f"captions_kept['{image}']"
        if not isinstance(indices, list) or not indices:
            raise source.error("expected a list of caption indices", where=where)
        if any(type(index) is not int or index < 0 for index in indices):
            raise source.error(f"expected indices from 0, got {indices}", where=where)
        if len(set(indices)) != len(indices):
            raise source.error(f"an index is there twice: {indices}", where=where)
    return {image: tuple(indices) for image, indices in kept.items()}


def _check_consistent(source: Source, annotations: Annotations) -> None:
    annotated = set(annotations.annotated)
    both = sorted(annotated & set(annotations.unannotated))
    if both:
        raise source.error(f"'{both[0]}' is both in 'annotated' and in 'unannotated'")
    odd = sorted(annotated ^ set(annotations.captions_kept))
    if odd:
        raise source.error(
            f"'{odd[0]}' is in only one of 'annotated' and 'captions_kept'",
            "make the file anew with `weaksup subsample`",
        )
