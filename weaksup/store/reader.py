"""Read a region store: one file, or a folder of shards, as one.

Letters: N images, M regions, D feature width, A attribute slots, K class slots, B images of a
batch, R the most regions of an image of that batch.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weaksup.errors import DataError
from weaksup.store import schema
from weaksup.store.storefile import StoreFile, read_file
from weaksup.types import STATUS_UNREADABLE, Float32, Int32, Provenance, Regions, UInt8
from weaksup.wording import first_few

# Where a store does not say what extract took for a guess.
SCORE_THRESHOLD = 0.2

# Features of a larger store are unmapped after so many bytes have been read. They stay in the page
# cache, but count no longer as memory of this process, which would look, and on some machines be
# treated, as if it held the whole store.
KEPT_BYTES = 2**30

Bool = npt.NDArray[np.bool_]
Float16 = npt.NDArray[np.float16]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RegionBatch:
    """Regions of B images, padded to R.

    Attributes:
        features: (B, R, D) float16, 0 as padding.
        boxes: (B, R, 4) float32, x1 y1 x2 y2 as fractions of width and height, 0 as padding.
        mask: (B, R) bool, True where there is a region.
        scores: (B, R) float32, 0 as padding.
        objects: (B, R) int32, rows of ``RegionStore.objects``, -1 for none and as padding.
        attributes: (B, R, A) int32, rows of ``RegionStore.attributes``, -1 as padding.
    """

    features: Float16
    boxes: Float32
    mask: Bool
    scores: Float32
    objects: Int32
    attributes: Int32


class RegionStore:
    """A complete store, checked, with its regions mapped into memory.

    No HDF5 handle stays open: workers that are forked share the mapping, and a pickled store is
    a path that the receiver opens again. Use :func:`open_store`.

    Attributes:
        path: the file, or the folder of shards.
        plan: ids, names, widths and provenance.
        ids: N image ids.
        sizes: (N, 2) int32, height and width in pixels.
        status: (N,) uint8, ``STATUS_OK``, ``STATUS_UNREADABLE`` or ``STATUS_NO_REGION``.
        offsets: (N+1,) int64; image i has ``offsets[i+1] - offsets[i]`` regions.
        objects, attributes: names that regions refer to.
        classes: names of the feature network's classes; empty for a store without them.
        object_words, class_words: for each of ``objects`` and ``classes``, the words by which a
            caption may call it, the nearest first; empty where the store has none.
        created: ISO 8601 time at which the (last) file was finished.
    """

    def __init__(self, path: Path, files: Sequence[StoreFile]) -> None:
        first = files[0]
        self.path = path
        self.ids = [name for file in files for name in file.plan.ids]
        self.plan = replace(first.plan, ids=tuple(self.ids))
        self.objects = list(first.plan.objects)
        self.attributes = list(first.plan.attributes)
        self.classes = self.plan.classes
        self.object_words = self.plan.object_words
        self.class_words = self.plan.class_words
        self.sizes: Int32 = np.concatenate([file.sizes for file in files])
        self.status: UInt8 = np.concatenate([file.status for file in files])
        self._counts: Int64 = np.concatenate([np.diff(file.offsets) for file in files])
        self.offsets: Int64 = np.concatenate([[0], np.cumsum(self._counts)])
        self.created = max(file.created for file in files)
        self._files = tuple(files)
        self._read_bytes = 0
        self._first_row: Int64 = np.cumsum([0, *(file.offsets[-1] for file in files[:-1])])
        # What a padding row holds; as many of them at the end as a batch may read beyond it.
        self._blank = np.array([0] * 5 + [-1] * (1 + self.plan.attribute_slots), np.int32)
        beyond = np.tile(self._blank, (int(self._counts.max(initial=0)), 1))
        self._narrow: Int32 = np.concatenate([*(_pack(file) for file in files), beyond])

    @property
    def feature_size(self) -> int:
        """D; 0 for a store without features."""
        return self.plan.feature_size

    @property
    def provenance(self) -> Provenance:
        """How the regions were made."""
        return self.plan.provenance

    @property
    def score_threshold(self) -> float:
        """Regions below it are there to fill up an image: their names are guesses.

        As it is in float16, like the scores that it is compared with.
        """
        value = self.provenance.settings.get("score_threshold", SCORE_THRESHOLD)
        return float(np.float16(value))

    @property
    def region_boxes(self) -> Float32:
        """(M, 4) float32 of all images' regions, x1 y1 x2 y2 as fractions of width and height.

        A view, as the next three are.
        """
        return self._narrow[: self.offsets[-1], :4].view(np.float32)

    @property
    def region_scores(self) -> Float32:
        """(M,) float32."""
        return self._narrow[: self.offsets[-1], 4].view(np.float32)

    @property
    def region_objects(self) -> Int32:
        """(M,) int32, rows of ``objects``, -1 for none."""
        return self._narrow[: self.offsets[-1], 5]

    @property
    def region_attributes(self) -> Int32:
        """(M, A) int32, rows of ``attributes``, -1 as padding."""
        return self._narrow[: self.offsets[-1], 6:]

    @cached_property
    def region_classes(self) -> Int32:
        """(M, K) int32, rows of ``classes``, the most probable first, -1 as padding."""
        return self._all_rows("classes", np.int32)

    @cached_property
    def region_class_scores(self) -> Float32:
        """(M, K) float32, the probabilities of ``region_classes``, 0 as padding."""
        return self._all_rows("class_scores", np.float32)

    def _all_rows(self, field: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A field that is asked for by few: read when it is."""
        if not self.plan.class_slots:
            return np.zeros((int(self.offsets[-1]), 0), dtype)
        return np.concatenate([file.arrays[field] for file in self._files], dtype=dtype)

    @cached_property
    def problems(self) -> list[tuple[str, str]]:
        """(id, reason) of the unreadable images; the reason is empty where it is not known."""
        reasons = {name: reason for file in self._files for name, reason in file.reasons.items()}
        unreadable = np.flatnonzero(self.status == STATUS_UNREADABLE)
        return [(self.ids[i], reasons.get(self.ids[i], "")) for i in unreadable]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) over provenance, names, words, ids and offsets, not over the features.

        Equal for equal extractions, in however many shards.
        """
        digest = hashlib.sha256()
        provenance = self.provenance
        for part in (
            [provenance.detector, provenance.weights_sha256],
            schema.canonical_json(provenance.settings),
            [self.feature_size, self.plan.attribute_slots],
            [self.objects, self.attributes],
            self.ids,
        ):
            digest.update(json.dumps(part).encode() + b"\n")
        digest.update(self.offsets.tobytes())
        optional = [self.classes, self.object_words, self.class_words]
        if any(optional):  # a store without them keeps the fingerprint that it always had
            digest.update(json.dumps(optional).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path.absolute(), self.fingerprint)

    def index(self, image_id: str) -> int:
        """The position of an image.

        Raises:
            DataError: if the store has no such image.
        """
        try:
            return self._positions[image_id]
        except KeyError:
            example = f", such as {self.ids[0]}" if self.ids else ""
            raise DataError(
                f"the store {self.path} has no image {image_id}",
                f"its {len(self)} ids are paths relative to the image folder{example}",
            ) from None

    def regions(self, index: int) -> Regions:
        """The regions of the image at ``index``, features and scores as float32 copies.

        Raises:
            IndexError: if ``index`` is negative or too large.
        """
        batch = self.gather([index])
        rows = slice(self.offsets[index], self.offsets[index + 1])
        return Regions(
            boxes=batch.boxes[0].copy(),
            features=batch.features[0].astype(np.float32),
            scores=batch.scores[0].copy(),
            objects=batch.objects[0].copy(),
            attributes=batch.attributes[0].copy(),
            classes=self.region_classes[rows].copy(),
            class_scores=self.region_class_scores[rows].copy(),
        )

    def gather(self, indices: npt.ArrayLike, *, max_regions: int | None = None) -> RegionBatch:
        """The regions of many images at once.

        Args:
            indices: (B,) integers, in any order, repeats allowed.
            max_regions: take only the first regions of each image: the whole image and those
                with the best scores.

        Returns:
            New arrays, padded to the image of the batch that has most regions. All but features
            and mask are strided views of one array.

        Raises:
            IndexError: if an index is negative or too large.
            ValueError: if ``max_regions`` is not positive, or ``indices`` not one-dimensional
                integers.
        """
        wanted = self._checked(indices)
        if max_regions is not None and max_regions < 1:
            raise ValueError(f"max_regions {max_regions} must be positive")
        counts = self._counts[wanted]
        if max_regions is not None:
            counts = np.minimum(counts, max_regions)
        starts = self.offsets[wanted]
        width = int(counts.max(initial=0))
        narrow = _runs(self._narrow, starts, width)
        if counts.min(initial=width) == width:
            mask = np.ones((len(wanted), width), np.bool_)
        else:
            mask = np.arange(width) < counts[:, None]
            narrow[~mask] = self._blank
        return RegionBatch(
            features=self._gather_features(starts, counts, width),
            boxes=narrow[..., :4].view(np.float32),
            mask=mask,
            scores=narrow[..., 4].view(np.float32),
            objects=narrow[..., 5],
            attributes=narrow[..., 6:],
        )

    def _gather_features(self, starts: Int64, counts: Int64, width: int) -> Float16:
        """The first ``counts`` features from the rows ``starts`` on, (B, ``width``, D)."""
        gathered = self._copy_features(starts, counts, width)
        self._read_bytes += gathered.nbytes
        if self._read_bytes > KEPT_BYTES:
            self._unmap_pages()
        return gathered

    def _unmap_pages(self) -> None:
        """Let go of the pages that were read; whoever reads them again maps them again."""
        self._read_bytes = 0
        if int(self.offsets[-1]) * self.feature_size * 2 <= KEPT_BYTES:
            return
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            for file in self._files:
                file.mapping.madvise(mmap.MADV_DONTNEED)

    def _copy_features(self, starts: Int64, counts: Int64, width: int) -> Float16:
        if len(self._files) == 1 and self.feature_size and counts.min(initial=width) == width:
            return _runs(self._files[0].arrays["features"], starts, width)
        gathered = np.zeros((len(starts), width, self.feature_size), np.float16)
        file_of = np.searchsorted(self._first_row, starts, side="right") - 1
        local = starts - self._first_row[file_of]
        for out, number, start, count in zip(
            gathered, file_of.tolist(), local.tolist(), counts.tolist(), strict=True
        ):
            out[:count] = self._files[number].arrays["features"][start : start + count]
        return gathered

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.ids)}

    def _checked(self, indices: npt.ArrayLike) -> Int64:
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise ValueError(f"indices are {wanted.dtype} {wanted.shape}, expected integers (B,)")
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"an index is outside 0..{len(self) - 1}")
        return wanted.astype(np.int64)


def open_store(path: str | Path) -> RegionStore:
    """Open and check a region store.

    Args:
        path: a store file, or a folder of shards ``regions-00000-of-00004.h5``.

    Raises:
        DataError: if it is missing, no region store, of another version, not complete or
            damaged; the message names the file, and the dataset or the missing shards.
    """
    path = Path(path)
    if not path.is_dir():
        return RegionStore(path, [read_file(path)])
    files = [read_file(shard) for shard in _shards(path)]
    for file in files[1:]:
        # The ids of shards differ, all else must not.
        same_ids = replace(file.plan, ids=files[0].plan.ids)
        differences = files[0].plan.differences(same_ids)
        if differences:
            raise DataError(
                f"{file.path} was not made together with {files[0].path.name}: "
                + first_few(differences, separator="; "),
                "keep only the shards of one extraction in a folder",
            )
    store = RegionStore(path, files)
    if len(set(store.ids)) != len(store):
        raise DataError(
            f"two shards in {path} hold the same image",
            "keep only the shards of one extraction in a folder",
        )
    return store


def _shards(folder: Path) -> list[Path]:
    """The shard files of ``folder``, all of them, in order."""
    if (folder / schema.OVERWRITING).exists():
        raise DataError(
            f"the store {folder} is being replaced: some of its shards are old and some are new",
            "run the same `weaksup extract` with --overwrite again: it goes on from there",
        )
    matches = [
        match for entry in folder.iterdir() if (match := schema.SHARD_NAME.fullmatch(entry.name))
    ]
    totals = sorted({int(match[2]) for match in matches})
    if not totals:
        raise DataError(
            f"the folder {folder} holds no shards of a region store",
            f"name the file, or a folder of {schema.shard_path(folder, 0, 4).name} and so on",
        )
    if len(totals) > 1:
        raise DataError(
            f"the folder {folder} holds shards of several stores: "
            + ", ".join(f"of {total}" for total in totals),
            "keep only the shards of one extraction in a folder",
        )
    paths = [schema.shard_path(folder, index, totals[0]) for index in range(totals[0])]
    missing = [shard.name for shard in paths if not shard.exists()]
    if missing:
        raise DataError(
            f"the store {folder} lacks {', '.join(missing)}",
            "run the same `weaksup extract` again, or copy the missing shards here",
        )
    return paths


def _reopen(path: Path, fingerprint: str) -> RegionStore:
    store = open_store(path)
    if store.fingerprint != fingerprint:
        raise DataError(f"{path} was replaced while it was in use", "start again")
    return store


def _pack(file: StoreFile) -> Int32:
    """Box, score, object and attributes of every region, (M, 6 + A), floats by their bits.

    One row for a region, so that a batch costs one gather and not four: the four together would
    take as long as a third of the features.
    """
    columns = (
        file.arrays["boxes"].view(np.int32),
        file.arrays["scores"].astype(np.float32).view(np.int32)[:, None],
        file.arrays["objects"][:, None],
        file.arrays["attributes"],
    )
    packed: Int32 = np.concatenate(columns, axis=1)
    return packed


def _runs(rows: npt.NDArray[Any], starts: Int64, width: int) -> npt.NDArray[Any]:
    """``rows[start : start + width]`` for each start, (B, width, ...), as a copy.

    Every start must be at least ``width`` rows before the end of ``rows``, which is contiguous.
    """
    windows: npt.NDArray[Any] = np.ndarray(
        shape=(len(rows) - width + 1, width, *rows.shape[1:]),
        dtype=rows.dtype,
        buffer=rows.data,
        strides=(rows.strides[0], *rows.strides),
    )
    runs: npt.NDArray[Any] = windows[starts]
    return runs
