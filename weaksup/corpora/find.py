"""Looking for the captions file that the user did not name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from weaksup.corpora.read import format_order, read_corpus, recognises
from weaksup.errors import DataError

# Which files are worth opening among 100,000 images; whether one holds captions is decided by
# its content.
SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".token", ".tokens"})
# COCO keeps its captions in a folder of this name beside the image folders.
BESIDE = "annotations"
# How many of a file's images are looked for in the image folders.
SAMPLE = 100


def find_captions(image_folders: Sequence[Path]) -> Path | None:
    """The captions file inside or beside the image folders, or None.

    Of several, the first of :func:`list_captions`.
    """
    return next(iter(list_captions(image_folders)), None)


def list_captions(image_folders: Sequence[Path]) -> list[Path]:
    """All captions files inside or beside the image folders, the one to prefer first.

    Order: those whose images are in the folders (of ``captions_train2017.json`` and
    ``captions_val2017.json``, the one that belongs to ``train2017``); then by format, Karpathy's,
    COCO's, Flickr's, tables; then those with ``train`` in their name; then those inside an image
    folder; then by name.
    """
    found = []
    for path, inside in _candidates(image_folders):
        format = recognises(path)
        if format is not None:
            found.append((path, format, inside))
    formats = format_order()
    ranked = []
    for path, format, inside in found:
        # Reading takes seconds for COCO: no need where there is nothing to choose from.
        foreign = len(found) > 1 and not _belongs(path, image_folders)
        rank = (foreign, formats.index(format), "train" not in path.stem.lower(), not inside)
        ranked.append((*rank, path.name, str(path), path))
    return [path for *_, path in sorted(ranked)]


def _candidates(image_folders: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file that may hold captions once, and whether it is inside an image folder."""
    seen: set[Path] = set()
    folders = [folder.resolve() for folder in image_folders]
    parents = [folder.parent for folder in folders]
    for place in (*folders, *parents, *(parent / BESIDE for parent in parents)):
        if not place.is_dir():
            continue
        for path in place.iterdir():
            hidden = path.name.startswith(".")
            if hidden or path.suffix.lower() not in SUFFIXES or path in seen or not path.is_file():
                continue
            seen.add(path)
            yield path, place in folders


def _belongs(path: Path, image_folders: Sequence[Path]) -> bool:
    """Whether most of the file's images, as far as a sample says, are in the folders."""
    try:
        images = read_corpus(path).images
    except DataError:
        return False
    sample = [image.id for image in images[:: max(1, len(images) // SAMPLE)]]
    there = sum(
        any((folder / name).is_file() for folder in image_folders)
        or any((folder / PurePosixPath(name).name).is_file() for folder in image_folders)
        for name in sample
    )
    return 2 * there > len(sample)
