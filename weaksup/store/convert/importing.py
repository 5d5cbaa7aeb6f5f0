"""Make a region store of features that others have extracted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weaksup.errors import DataError, UsageError
from weaksup.files import write_atomically
from weaksup.store.convert.names import image_ids
from weaksup.store.convert.npz import NpzSource, find_npz
from weaksup.store.convert.precomp import SUFFIX, PrecompSource
from weaksup.store.convert.source import WHOLE_IMAGE, FeatureSource, store_item
from weaksup.store.convert.tsv import TsvSource, find_tsv
from weaksup.store.schema import IMPORTED
from weaksup.store.writer import StoreItem, write_store
from weaksup.types import CaptionedImage, Provenance

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportReport:
    """What was imported.

    Attributes:
        format: ``precomp``, ``npz`` or ``tsv``.
        store: the file.
        captions: the captions file, if the source has captions.
        images: how many.
        feature_size: D.
        missing: ids of images that have features and no file; empty without image folders.
        unused: images that have a file and no features.
        notes: what was passed over, a sentence each.
    """

    format: str
    store: Path
    captions: Path | None
    images: int
    feature_size: int
    missing: list[str]
    unused: int
    notes: list[str]


def recognise(path: Path) -> type[PrecompSource] | type[NpzSource] | type[TsvSource]:
    """The format of features, by their content: a precomp folder, npz files or tsv files.

    Raises:
        DataError: if it is none of them, or cannot be read.
    """
    try:
        if path.is_dir() and any(path.glob(f"*{SUFFIX}")):
            return PrecompSource
        if find_npz(path):
            return NpzSource
        if find_tsv(path):
            return TsvSource
    except OSError as error:
        raise _unreadable(path, error) from error
    raise DataError(
        f"{path} holds no region features in a known format",
        "known: a folder of SPLIT_ims.npy and SPLIT_caps.txt (VSE++, SCAN, VSE-infinity), of .npz "
        "files (bottom-up-attention.pytorch), or tsv files (bottom-up attention, LXMERT)",
    )


def open_source(path: Path) -> FeatureSource:
    """Open features of whatever format they are.

    Raises:
        DataError: if it is none that is known, or damaged.
    """
    try:
        return recognise(path).open(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{error.filename or path} cannot be read: {error.strerror or error}",
        "mend the permissions, or name another place",
    )


def import_regions(
    path: Path,
    out: Path,
    *,
    images: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Write the store ``out`` of the features at ``path``, and a captions file if it has captions.

    Constant memory; interrupted, the same call goes on from there.

    Args:
        path: see :func:`open_source`.
        out: the store; its captions file is ``NAME-captions.json`` beside it.
        images: ids of the images that there are, to give the features their names.
        overwrite: replace a store, and a captions file, that is there.
        progress: called with the images that are read and their number.

    Raises:
        UsageError: if something else is in the way.
        DataError: if the source is damaged, or nothing can be written.
    """
    source = open_source(path)
    names = image_ids(source.names, images)
    captions = out.with_name(f"{out.stem}-captions.json")
    text = _karpathy(source.captioned, names.ids)
    in_the_way = source.captioned and captions.exists() and not overwrite
    if in_the_way and captions.read_bytes() != text.encode():
        raise UsageError(
            f"{captions} is in the way",
            "--overwrite replaces it and the store, --out writes elsewhere",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    store = write_store(
        out,
        _items(source, progress),
        ids=names.ids,
        feature_size=source.feature_size,
        attribute_slots=0,
        objects=(),
        attributes=(),
        provenance=_provenance(source),
        overwrite=overwrite,
    )
    if source.captioned:
        write_atomically(captions, text)
    return ImportReport(
        format=source.format,
        store=store,
        captions=captions if source.captioned else None,
        images=len(names.ids),
        feature_size=source.feature_size,
        missing=names.missing,
        unused=names.unused,
        notes=source.notes,
    )


def _items(source: FeatureSource, progress: Progress | None) -> Iterator[StoreItem]:
    total = len(source.names)
    for done, (name, image) in enumerate(zip(source.names, source.read(), strict=True), start=1):
        yield store_item(
            image,
            whole_image_first=source.whole_image_first,
            where=f"{source.path}: image {name}",
        )
        if progress is not None:
            progress(done, total)


def _provenance(source: FeatureSource) -> Provenance:
    """Sizes of files stand for their content: hashing all of it would take as long as reading."""
    base = source.path if source.path.is_dir() else source.path.parent
    digest = hashlib.sha256()
    for file in source.files:
        record = [file.relative_to(base).as_posix(), file.stat().st_size]
        digest.update(json.dumps(record).encode() + b"\n")
    return Provenance(
        detector=f"{IMPORTED}:{source.format}",
        weights_sha256="",
        settings={
            "source": source.path.resolve().name,
            "files_sha256": digest.hexdigest(),
            "whole_image": "first region"
            if source.whole_image_first
            else f"region over {WHOLE_IMAGE} of the image, else mean of the regions",
            **({"exported_from": source.origin} if source.origin else {}),
        },
    )


def _karpathy(captioned: Sequence[CaptionedImage], ids: Sequence[str]) -> str:
    """Karpathy's JSON of the images, an image a line."""
    records = [
        {
            "filename": name,
            "split": image.split,
            "sentences": [{"raw": caption} for caption in image.captions],
        }
        for name, image in zip(ids, captioned, strict=False)
    ]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    return f'{{"images": [\n{lines}\n]}}\n'
