"""A run's index: embeddings of images, and of the captions that it knows, to search in.

Written to ``runs/NAME/index/``; docs/formats.md describes the files.

Letters: N images, C captions, d embedding width.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.approximate import KINDS, Approximate, Kind, available, choose_kind
from trainer.ranking import DIVERGED
from trainer.search import CaptionHit, Gallery, Hit, image_hits
from weaksup.corpora import match_ids, read_annotations, read_corpus
from weaksup.errors import DataError
from weaksup.store import RegionStore, readable_ids
from weaksup.types import STATUS_UNREADABLE, Float32, Int64
from weaksup.wording import counted

if TYPE_CHECKING:
    from trainer.run import Run

FOLDER = "index"
FORMAT, VERSION = "weaksup.index", 1
HEADER, IMAGES, CAPTIONS = "index.json", "images", "captions"
APPROXIMATE = "images.faiss"
AGAIN = "run `weaksup index` again"
# Images that are embedded between two calls of ``progress``.
CHUNK = 1024
# Approximate search asks for so many times the wanted results, at least for so many.
CANDIDATES_A_RESULT, LEAST_CANDIDATES = 10, 300

# Called with the number of images that are done and the number of all images.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Source:
    """A region store whose images are in an index.

    Attributes:
        regions: the store, absolute.
        fingerprint: of the store.
        images: how many of its images the index took from it.
    """

    regions: str
    fingerprint: str
    images: int


@dataclass(frozen=True)
class KnownCaption:
    """A kept caption of the run's annotations."""

    image: str
    caption: str


@dataclass(frozen=True)
class Index:
    """What a run searches in.

    Attributes:
        kind: how images are searched; captions are few, and searched exactly.
        ids: N image ids.
        images: N embeddings.
        known: C captions.
        captions: C embeddings.
        sources: the stores that the images are from.
        folder: where it was read from; None if it was never written.
        approximate: finds candidates; None if every image is looked at.
        notes: what is not in it, and why, a sentence each; of one that was just built.
    """

    kind: Kind
    ids: Sequence[str]
    images: Gallery
    known: Sequence[KnownCaption]
    captions: Gallery
    sources: tuple[Source, ...]
    folder: Path | None = None
    approximate: Approximate | None = None
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, image_id: str) -> int | None:
        """The place of an image; None if it is not in the index."""
        try:
            return self.ids.index(image_id)
        except ValueError:
            return None

    def search(self, embedding: Float32, *, top: int, image: bool = False) -> list[Hit]:
        """The most similar images, the best first.

        Args:
            embedding: (d,) float32, of a sentence or of an image.
            top: how many.
            image: whether the embedding is an image's.
        """
        if self.approximate is None:
            return image_hits(self.ids, *self.images.nearest(embedding, top=top, same_side=image))
        query = self.images.query(embedding, same_side=image)
        count = min(len(self), max(LEAST_CANDIDATES, CANDIDATES_A_RESULT * top))
        places = self.approximate.candidates(query, count)
        return image_hits(
            self.ids, *self.images.nearest_of(embedding, places, top=top, same_side=image)
        )

    def search_captions(
        self, embedding: Float32, *, top: int, image: bool = True
    ) -> list[CaptionHit]:
        """The most similar captions, the best first; arguments as those of :meth:`search`."""
        places, scores = self.captions.nearest(embedding, top=top, same_side=not image)
        return [
            CaptionHit(self.known[place].caption, self.known[place].image, score)
            for place, score in zip(places.tolist(), scores.tolist(), strict=True)
        ]


def build_index(
    run: Run,
    store: RegionStore,
    *,
    kind: Kind | None = None,
    captions: bool = True,
    progress: Progress | None = None,
) -> Index:
    """Embed a store's readable images and the captions that the run was trained on, and index.

    Nothing is written, and all is held in memory: see :func:`write_index`.

    Args:
        run: that embeds.
        store: made like the run's own.
        kind: by default what suits the number of images, ``exact`` where FAISS is missing.
        captions: whether captions are wanted, too.
        progress: called after each chunk of images.

    Raises:
        DataError: if the store is of another kind than the run's, or an embedding not finite.
        MissingDependencyError: if FAISS is needed and not installed.
    """
    run.check_store(store)
    ids = readable_ids(store)
    rows = readable(store)
    images = np.concatenate([*_embedded(run, store, rows, progress)])
    known, notes = _known_captions(run) if captions else ([], [])
    return _assembled(
        run,
        images=images,
        ids=ids,
        known=known,
        captions=_caption_rows(run, known, width=images.shape[1]),
        sources=(_source(store, len(rows)),),
        kind=kind,
        notes=(*_left_out(store), *notes),
    )


def extend_index(
    index: Index,
    run: Run,
    store: RegionStore,
    *,
    kind: Kind | None = None,
    progress: Progress | None = None,
) -> Index:
    """The index with another store's images behind its own; none of those is embedded again.

    Images whose ids are there already stay as they are, and a note says how many.

    Args:
        index: of the same run.
        kind: by default what suits the number of images.

    The other arguments and the errors are those of :func:`build_index`.
    """
    run.check_store(store)
    there = set(index.ids)
    rows = readable(store)
    new = np.array([row for row in rows if store.ids[row] not in there], dtype=np.int64)
    images = np.concatenate([index.images.rows, *_embedded(run, store, new, progress)])
    notes = list(_left_out(store))
    if len(new) < len(rows):
        same = len(rows) - len(new)
        notes.append(
            f"{counted(same, 'image is', 'images are')} in the index already, by id: left as before"
        )
    return _assembled(
        run,
        images=images,
        ids=[*index.ids, *(store.ids[row] for row in new)],
        known=index.known,
        captions=index.captions.rows,
        sources=(*index.sources, _source(store, len(new))),
        kind=kind,
        grown=index,
        notes=notes,
    )


def readable(store: RegionStore) -> Int64:
    """(N,) int64 positions of a store's images that could be read."""
    return np.flatnonzero(store.status != STATUS_UNREADABLE).astype(np.int64)


def _embedded(
    run: Run, store: RegionStore, rows: Int64, progress: Progress | None
) -> Iterator[Float32]:
    """The images at ``rows``, chunk by chunk."""
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        yield _finite(run.encode_images(store, chunk), [store.ids[row] for row in chunk])
        if progress is not None:
            progress(start + len(chunk), len(rows))


def _finite(embeddings: Float32, names: Sequence[str]) -> Float32:
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise DataError(
            f"the embeddings of {counted(len(bad), 'image')} are not finite, such as that of "
            f"{names[bad[0]]}",
            DIVERGED,
        )
    return embeddings


def _assembled(
    run: Run,
    *,
    images: Float32,
    ids: Sequence[str],
    known: Sequence[KnownCaption],
    captions: Float32,
    sources: tuple[Source, ...],
    kind: Kind | None,
    notes: Sequence[str],
    grown: Index | None = None,
) -> Index:
    notes = list(notes)
    if kind is None:
        kind = choose_kind(len(ids))
        if kind != "exact" and not available():
            notes.append(
                f"every one of the {len(ids):,} images is looked at in each search, because faiss "
                "is not installed: pip install 'weaksup[search]' makes that faster"
            )
            kind = "exact"
    approximate = None
    if kind != "exact":
        if grown is not None and grown.approximate is not None and grown.kind == kind:
            approximate = grown.approximate
            approximate.add(images[len(grown) :])
        else:
            approximate = Approximate.build(images, kind=kind)
    slack = run.embedding_model().slack
    return Index(
        kind=kind,
        ids=ids,
        images=Gallery(images, slack),
        known=known,
        captions=Gallery(captions, slack),
        sources=sources,
        approximate=approximate,
        notes=tuple(notes),
    )


def _source(store: RegionStore, images: int) -> Source:
    return Source(str(store.path.resolve()), store.fingerprint, images)


def _left_out(store: RegionStore) -> list[str]:
    lost = int(np.count_nonzero(store.status == STATUS_UNREADABLE))
    return [f"{counted(lost, 'image')} could not be read: left out"] if lost else []


def _known_captions(run: Run) -> tuple[list[KnownCaption], list[str]]:
    """The captions that the run was trained on, if its files are still there; notes if not."""
    try:
        annotations = read_annotations(run.description.annotations)
        corpus = read_corpus(run.captions)
    except DataError as error:
        return [], [f"the index has no captions: {error.message}"]
    if corpus.fingerprint != annotations.fingerprint:
        return [], [f"the index has no captions: {run.captions} is not what the run was trained on"]
    images = match_ids(corpus, list(annotations.captions_kept)).images
    captions = {image.id: image.captions for image in images}
    known = [
        KnownCaption(image, captions[image][place])
        for image, places in annotations.captions_kept.items()
        for place in places
    ]
    return known, []


def _caption_rows(run: Run, known: Sequence[KnownCaption], *, width: int) -> Float32:
    if not known:
        return np.zeros((0, width), np.float32)
    return run.encode_texts([item.caption for item in known])


def write_index(index: Index, run: Run) -> Index:
    """Write ``runs/NAME/index/``, in place of the one that is there, and map it.

    Raises:
        DataError: if it cannot be written.
    """
    target = run.folder / FOLDER
    try:
        with _replacing(target) as folder:
            np.save(folder / f"{IMAGES}.npy", index.images.rows)
            np.save(folder / f"{CAPTIONS}.npy", index.captions.rows)
            _write_json(folder / f"{IMAGES}.json", list(index.ids))
            _write_json(folder / f"{CAPTIONS}.json", [asdict(item) for item in index.known])
            if index.approximate is not None:
                index.approximate.write(folder / APPROXIMATE)
            header = {
                "format": FORMAT,
                "version": VERSION,
                "run": run.folder.name,
                "run_fingerprint": run.fingerprint,
                "provenance": asdict(run.description.provenance),
                "kind": index.kind,
                "images": len(index),
                "captions": len(index.known),
                "width": index.images.rows.shape[1],
                "slack": index.images.slack,
                "sources": [asdict(source) for source in index.sources],
            }
            _write_json(folder / HEADER, header)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}",
            "make room, or mend the permissions",
        ) from error
    return open_index(run)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``target`` once the block has ended well."""
    new = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    new.mkdir(parents=True)
    try:
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def has_index(run: Run) -> bool:
    """Whether the run has an index, whatever its state."""
    return (run.folder / FOLDER / HEADER).exists()


def open_index(run: Run) -> Index:
    """Map a run's index into memory.

    Raises:
        DataError: if it is missing, damaged, of another version, or older than the run's weights.
        MissingDependencyError: if it needs FAISS, which is not installed.
        UsageError: if the run's model has no embeddings.
    """
    run.embedding_model()
    folder = run.folder / FOLDER
    header = _read_header(folder)
    if header["run_fingerprint"] != run.fingerprint:
        raise DataError(
            f"the index {folder} is of other weights than the run has now: it was trained again",
            AGAIN,
        )
    images = _map(folder / f"{IMAGES}.npy", (header["images"], header["width"]))
    captions = _map(folder / f"{CAPTIONS}.npy", (header["captions"], header["width"]))
    ids = _read_list(folder / f"{IMAGES}.json", header["images"])
    known = _read_list(folder / f"{CAPTIONS}.json", header["captions"])
    approximate = None
    if header["kind"] != "exact":
        approximate = Approximate.read(folder / APPROXIMATE)
        if len(approximate) != len(ids):
            raise _damaged(folder / APPROXIMATE, f"{len(approximate)} embeddings")
    try:
        return Index(
            kind=header["kind"],
            ids=[str(name) for name in ids],
            images=Gallery(images, header["slack"]),
            known=[KnownCaption(**item) for item in known],
            captions=Gallery(captions, header["slack"]),
            sources=tuple(Source(**source) for source in header["sources"]),
            folder=folder,
            approximate=approximate,
        )
    except TypeError as error:
        raise _damaged(folder, str(error)) from error


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged: {reason}", AGAIN)


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / HEADER
    if not path.exists():
        raise DataError(f"there is no index in {folder}", "run `weaksup index` first")
    content = _read_json(path)
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no object")
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise DataError(
            f"{path} is no index of this version (format {content.get('format')!r}, version "
            f"{content.get('version')!r})",
            AGAIN,
        )
    numbers = ("images", "captions", "width", "slack")
    whole = (
        all(isinstance(content.get(name), int) for name in numbers)
        and isinstance(content.get("run_fingerprint"), str)
        and isinstance(content.get("sources"), list)
        and content.get("kind") in KINDS
    )
    if not whole:
        raise _damaged(path, "a key is missing or of the wrong type")
    return content


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _read_list(path: Path, count: int) -> list[Any]:
    content = _read_json(path)
    if not isinstance(content, list) or len(content) != count:
        raise _damaged(path, f"it does not hold {count} entries")
    return content


def _map(path: Path, shape: tuple[int, int]) -> Float32:
    try:
        # An empty file cannot be mapped.
        rows = np.load(path, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if rows.shape != shape or rows.dtype != np.float32:
        raise _damaged(path, f"it holds {rows.dtype} {rows.shape}, expected float32 {shape}")
    result: Float32 = rows
    return result
