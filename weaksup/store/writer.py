"""Write a region store that can be interrupted at any time.

Letters: G images of one group, M regions of one image, D feature width, A attribute slots, K class
slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from weaksup.errors import DataError, UsageError
from weaksup.store import schema
from weaksup.store.assemble import assemble, sync
from weaksup.store.journal import Journal, remove_journal
from weaksup.store.reader import open_store
from weaksup.store.schema import RegionArray, StorePlan
from weaksup.types import STATUS_NO_REGION, STATUS_OK, STATUS_UNREADABLE, Provenance, Regions
from weaksup.wording import first_few

# The least number that rounds to an infinity in float16.
_FLOAT16_END = 65520.0


@dataclass(frozen=True)
class StoreItem:
    """What one image leaves in the store.

    Attributes:
        size: height and width in pixels; (0, 0) where that could not be found out.
        status: ``STATUS_OK``, ``STATUS_UNREADABLE`` or ``STATUS_NO_REGION``.
        regions: at least one region; None for an unreadable image, and only for that.
        reason: why the image could not be read.
    """

    size: tuple[int, int]
    status: int
    regions: Regions | None
    reason: str = ""


class RegionWriter:
    """Appends groups of images; :meth:`finish` makes them one file.

    Use :meth:`open`. Until ``finish`` everything is in the folder ``<name>.partial`` beside the
    file. An object of this class is a context manager that closes what it has open and leaves the
    folder for the next run.

    Attributes:
        done: how many leading ids are committed: a multiple of the group size, or all.
        finished: the file is there and complete.
        problems: (id, reason) of the images that could not be read, from earlier runs too.

    Example:
        >>> with RegionWriter.open(path, ids=ids, ...) as writer:
        ...     while writer.done < len(ids):
        ...         writer.append_group(read(ids[writer.done : writer.done + group_size]))
        ...     writer.finish()
    """

    def __init__(
        self, path: Path, *, plan: StorePlan, group_size: int, journal: Journal | None
    ) -> None:
        self.path = path
        self.plan = plan
        self.group_size = group_size
        self.done = 0 if journal is not None else len(plan.ids)
        self.problems: list[tuple[str, str]] = []
        self._journal = journal
        for group in journal.groups if journal is not None else ():
            self._count(len(group.count), group.problems)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        ids: Sequence[str],
        feature_size: int,
        attribute_slots: int,
        objects: Sequence[str],
        attributes: Sequence[str],
        provenance: Provenance,
        group_size: int,
        class_slots: int = 0,
        classes: Sequence[str] = (),
        object_words: Sequence[Sequence[str]] = (),
        class_words: Sequence[Sequence[str]] = (),
        overwrite: bool = False,
    ) -> RegionWriter:
        """Begin the store ``path``, go on with it, or find it finished.

        Args:
            path: ``.../regions.h5``, or a shard's :func:`weaksup.store.shard_path`.
            ids: of all images of this file, in order; not two alike.
            feature_size: D; 0 for a store without features.
            attribute_slots: A; 0 without attributes.
            objects: names that ``Regions.objects`` are rows of.
            attributes: names that ``Regions.attributes`` are rows of.
            provenance: how the regions are made.
            group_size: images a group, the unit of work that is committed.
            class_slots: K; 0 without classes.
            classes: names that ``Regions.classes`` are rows of.
            object_words: for each of ``objects``, words by which a caption may call it, the
                nearest first; empty to write none.
            class_words: the same for ``classes``.
            overwrite: replace a store or an unfinished store that is there.

        Raises:
            UsageError: if a store, finished or not, is there and differs in any of the above
                (the message says in what), or another process writes it.
            DataError: if an id is no valid text, or the place cannot be written.
            ValueError: if an id is repeated or a number is out of range.
        """
        if group_size < 1 or min(feature_size, attribute_slots, class_slots) < 0:
            raise ValueError(f"{group_size=} {feature_size=} {attribute_slots=} {class_slots=}")
        if bool(class_slots) != bool(classes):
            raise ValueError(f"{class_slots=} with {len(classes)} classes")
        for words, names in ((object_words, objects), (class_words, classes)):
            if len(words) not in (0, len(names)):
                raise ValueError(f"words for {len(words)} of {len(names)} names")
        _check_ids(ids)
        path = Path(path)
        if path.is_dir():
            raise UsageError(f"{path} is a folder", "name a file, such as regions.h5 inside it")
        plan = StorePlan(
            ids=tuple(ids),
            feature_size=feature_size,
            attribute_slots=attribute_slots,
            objects=tuple(objects),
            attributes=tuple(attributes),
            provenance=provenance,
            class_slots=class_slots,
            classes=tuple(classes),
            object_words=tuple(map(tuple, object_words)),
            class_words=tuple(map(tuple, class_words)),
        )
        folder = schema.journal_folder(path)
        if path.exists() and not overwrite:
            problems = _require_same(path, plan)
            remove_journal(folder)
            writer = cls(path, plan=plan, group_size=group_size, journal=None)
            writer.problems = problems
            return writer
        with _write_errors(folder):
            journal = Journal.open(folder, plan=plan, group_size=group_size, overwrite=overwrite)
        return cls(path, plan=plan, group_size=group_size, journal=journal)

    @property
    def finished(self) -> bool:
        """The file is there and complete."""
        return self._journal is None

    def append_group(self, items: Sequence[StoreItem]) -> None:
        """Commit the next ``group_size`` images, or all that are left.

        Args:
            items: for ``ids[done : done + group_size]``, in order.

        Raises:
            DataError: if the features cannot be held in float16, or the disk is full; what was
                committed before stays.
            ValueError: if items or their arrays do not fit the store.
        """
        journal = self._require_journal()
        ids = self.plan.ids[self.done : self.done + self.group_size]
        if len(items) != len(ids) or not ids:
            raise ValueError(
                f"expected {len(ids)} items after {self.done} images, got {len(items)}"
            )
        for image_id, item in zip(ids, items, strict=True):
            self._check_item(image_id, item)
        regions = [item.regions for item in items if item.regions is not None]
        problems = [
            (position, item.reason)
            for position, item in enumerate(items)
            if item.status == STATUS_UNREADABLE
        ]
        rows = {array.field: _stored_rows(regions, array) for array in journal.arrays}
        _check_finite(rows["features"], ids, items)
        with _write_errors(journal.folder):
            journal.commit(
                [rows[array.field] for array in journal.arrays],
                size=[(int(item.size[0]), int(item.size[1])) for item in items],
                status=[int(item.status) for item in items],
                count=[0 if item.regions is None else len(item.regions) for item in items],
                problems=problems,
            )
        self._count(len(items), problems)

    def finish(self) -> Path:
        """Make the file from the journal, in constant memory, and delete the journal.

        The file appears under its name when it is whole and on disk, not before. Until then the
        disk must hold both. Does nothing when the store is finished already.

        Returns:
            The store's path.

        Raises:
            DataError: if the file cannot be written; the journal stays.
            ValueError: if images are missing.
        """
        if self._journal is None:
            return self.path
        if self.done != len(self.plan.ids):
            raise ValueError(f"{len(self.plan.ids) - self.done} images are missing")
        journal = self._journal
        temporary = journal.folder / self.path.name
        with _write_errors(self.path):
            assemble(temporary, plan=self.plan, journal=journal, problems=self.problems)
            temporary.replace(self.path)
            sync(self.path.parent)
            journal.remove()
        self._journal = None
        return self.path

    def close(self) -> None:
        """Close the files of an unfinished store; it can be opened again to go on."""
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> RegionWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_journal(self) -> Journal:
        if self._journal is None:
            raise ValueError(f"{self.path} is finished: nothing can be appended")
        return self._journal

    def _count(self, images: int, problems: Iterable[tuple[int, str]]) -> None:
        self.problems += [(self.plan.ids[self.done + at], reason) for at, reason in problems]
        self.done += images

    def _check_item(self, image_id: str, item: StoreItem) -> None:
        if item.status not in (STATUS_OK, STATUS_UNREADABLE, STATUS_NO_REGION):
            raise ValueError(f"{image_id}: unknown status {item.status}")
        unreadable = item.status == STATUS_UNREADABLE
        if unreadable != (item.regions is None) or (item.regions is not None and not item.regions):
            raise ValueError(f"{image_id}: an image has regions unless it is unreadable")
        if item.regions is None:
            return
        for array in self.plan.arrays():
            shape = np.shape(getattr(item.regions, array.field))
            expected = (len(item.regions), *array.row_shape)
            if shape != expected:
                raise ValueError(f"{image_id}: {array.field} is {shape}, expected {expected}")
        for field in ("objects", "attributes", "classes"):
            rows, names = getattr(item.regions, field), getattr(self.plan, field)
            if rows.size and (rows.min() < -1 or rows.max() >= len(names)):
                raise ValueError(f"{image_id}: {field} beyond the {len(names)} names")


def write_store(
    path: Path,
    items: Iterable[StoreItem],
    *,
    ids: Sequence[str],
    feature_size: int,
    attribute_slots: int,
    objects: Sequence[str],
    attributes: Sequence[str],
    provenance: Provenance,
    group_size: int = 64,
    class_slots: int = 0,
    classes: Sequence[str] = (),
    object_words: Sequence[Sequence[str]] = (),
    class_words: Sequence[Sequence[str]] = (),
    overwrite: bool = False,
) -> Path:
    """Write a whole store from ``items``, one for each of ``ids``; constant memory.

    Arguments, result and errors are those of :meth:`RegionWriter.open` and ``finish``. An
    unfinished store is gone on with: items that are committed already are read and passed over.
    """
    with RegionWriter.open(
        path,
        ids=ids,
        feature_size=feature_size,
        attribute_slots=attribute_slots,
        objects=objects,
        attributes=attributes,
        provenance=provenance,
        group_size=group_size,
        class_slots=class_slots,
        classes=classes,
        object_words=object_words,
        class_words=class_words,
        overwrite=overwrite,
    ) as writer:
        if writer.finished:
            return writer.path
        rest = islice(items, writer.done, None)
        while writer.done < len(ids):
            writer.append_group(list(islice(rest, group_size)))
        return writer.finish()


def _check_ids(ids: Sequence[str]) -> None:
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        repeated = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the id {repeated} is there twice")
    for name in ids:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(
                f"the file name {name!r} is not valid UTF-8", "rename the file"
            ) from None


def _require_same(path: Path, plan: StorePlan) -> list[tuple[str, str]]:
    """Check that ``path`` is the finished store of ``plan``; return its problems."""
    hint = "--overwrite replaces it, --out writes elsewhere"
    try:
        store = open_store(path)
    except DataError as error:
        raise UsageError(f"{path} is in the way: {error.message}", hint) from error
    if not schema.SHARD_NAME.fullmatch(path.name):
        # Words change no region: a WordNet that was installed since is no reason to refuse a
        # store. Shards are another matter, because they must agree.
        found = store.plan
        plan = replace(plan, object_words=found.object_words, class_words=found.class_words)
    differences = store.plan.differences(plan)
    if differences:
        told = first_few(differences, separator="; ")
        raise UsageError(f"{path} was made otherwise: {told}", hint)
    return store.problems


def _stored_rows(regions: Sequence[Regions], array: RegionArray) -> npt.NDArray[Any]:
    """The group's rows of one array, as they are stored."""
    with np.errstate(over="ignore"):
        parts = [getattr(each, array.field).astype(array.dtype) for each in regions]
    return np.concatenate([np.empty((0, *array.row_shape), array.dtype), *parts])


def _check_finite(
    features: npt.NDArray[np.float16], ids: Sequence[str], items: Sequence[StoreItem]
) -> None:
    """Refuse features that float16 cannot hold: training on an infinity ends in NaN."""
    if np.isfinite(features).all():
        return
    for image_id, item in zip(ids, items, strict=True):
        largest = np.abs(item.regions.features).max(initial=0) if item.regions else 0.0
        if not largest < _FLOAT16_END:
            raise DataError(
                f"{image_id}: its region features cannot be held in float16: the largest is "
                f"{largest:g}, float16 ends at 65504",
                "take another feature model, or one whose features are normalised",
            )


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn a full disk and the like into a readable error."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}",
            "make room or mend the permissions, and run the same command again: it goes on from "
            "what is written",
        ) from error
