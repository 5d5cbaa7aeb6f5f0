"""Write a precomp folder: the layout that VSE++, SCAN and VSE-infinity read.

Letters: N rows, R regions of a row, D feature width.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from weaksup.errors import DataError, UsageError
from weaksup.files import write_atomically
from weaksup.store.convert.plan import PrecompPlan, SplitPlan
from weaksup.store.pooled import not_finite
from weaksup.store.reader import RegionStore
from weaksup.types import Float32, Int64

FORMAT, VERSION = "weaksup.precomp", 1
DESCRIPTION = "precomp.json"
STATISTICS = "feature_statistics.npz"
# Of SCAN's vocabularies: rarer words are unknown.
MIN_COUNT = 4
SPECIAL_WORDS = ("<pad>", "<start>", "<end>", "<unk>")

_CHUNK = 64
_LINE_END = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")

Tokenize = Callable[[str], Sequence[str]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of each channel, (D,) float32; no deviation is 0."""

    mean: Float32
    std: Float32

    @classmethod
    def measure(cls, store: RegionStore, rows: Int64, *, max_regions: int) -> FeatureStatistics:
        """Over all regions of some images, in constant memory.

        Args:
            store: open region store.
            rows: (N,) int64, training images and no others: a statistic leaks too.
            max_regions: the first regions that are read.

        Raises:
            DataError: if a feature is not finite.
        """
        count = 0
        total = np.zeros(store.feature_size)
        squares = np.zeros(store.feature_size)
        for start in range(0, len(rows), _CHUNK):
            batch = store.gather(rows[start : start + _CHUNK], max_regions=max_regions)
            used = batch.features[batch.mask].astype(np.float64)
            count += len(used)
            total += used.sum(0)
            squares += np.square(used).sum(0)
        mean = total / max(count, 1)
        variance = squares / max(count, 1) - np.square(mean)
        if not np.isfinite(variance).all():
            raise not_finite(store)
        # Rounding leaves a constant channel some deviation, by which nothing must be divided.
        constant = variance <= 1e-12 * np.maximum(np.square(mean), 1e-12)
        std = np.sqrt(np.where(constant, 1.0, variance))
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def apply(self, features: Float32) -> Float32:
        """(..., D) float32 with mean 0 and deviation 1 over what was measured."""
        result: Float32 = (features - self.mean) / self.std
        return result


@dataclass(frozen=True)
class WrittenSplit:
    """What one split came to: N rows of R regions, ``padded`` of them with fewer of their own."""

    name: str
    images: int
    captions: int
    rows: int
    regions: int
    padded: int


@dataclass(frozen=True)
class PrecompReport:
    """What was written.

    Attributes:
        splits: in the order train, dev, test.
        words: of the vocabulary, the four special ones too.
        vocabulary: its file.
    """

    splits: tuple[WrittenSplit, ...]
    words: int
    vocabulary: Path


def write_precomp(
    folder: Path,
    store: RegionStore,
    plan: PrecompPlan,
    *,
    max_regions: int,
    standardize: bool,
    tokenize: Tokenize,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrecompReport:
    """Write features, captions, ids, vocabulary and a description; constant memory.

    R is the largest number of regions of an image, but at most ``max_regions``; images with fewer
    get rows of zeros (after standardising: of the average), and the split a file of the true
    numbers, which the tools do not read.

    Args:
        folder: made if missing.
        store: open region store with features.
        plan: what to write.
        max_regions: the first regions of each image, the whole image being one.
        standardize: bring every channel to mean 0 and deviation 1 over the training images
            that are written.
        tokenize: splits a lower-cased caption into words, for the vocabulary.
        overwrite: replace a precomp folder that is there.
        progress: called with the rows that are written and their total.

    Raises:
        UsageError: if the folder holds precomputed features already, or is a file.
        DataError: if the store has no features, an id cannot be a line, or the folder cannot be
            written.
    """
    if not store.feature_size:
        raise DataError(
            f"{store.path} holds no region features", "extract with a detector that gives them"
        )
    _prepare(folder, overwrite=overwrite)
    rows = {s.name: np.array([store.index(i) for i in s.rows()], np.int64) for s in plan.splits}
    counts = np.minimum(np.diff(store.offsets), max_regions)
    width = max(int(counts[each].max(initial=1)) for each in rows.values())
    statistics = None
    if standardize:
        training = np.unique(rows[plan.splits[0].name])
        statistics = FeatureStatistics.measure(store, training, max_regions=max_regions)
    total, done = sum(map(len, rows.values())), 0
    written = []
    for split in plan.splits:
        own = rows[split.name]
        _write_lines(folder / f"{split.name}_ids.txt", split.rows())
        captions = [caption for image in split.images for caption in image.captions]
        _write_lines(folder / f"{split.name}_caps.txt", map(one_line, captions))
        with _array_file(
            folder / f"{split.name}_ims.npy", (len(own), width, store.feature_size)
        ) as (file):
            for block in _blocks(store, own, width=width, statistics=statistics):
                file.write(block.data)
                done += len(block)
                if progress is not None:
                    progress(done, total)
        padded = int((counts[own] < width).sum())
        if padded:
            with _array_file(folder / f"{split.name}_lens.npy", (len(own),), "<i8") as file:
                file.write(counts[own].astype("<i8").data)
        written.append(
            WrittenSplit(split.name, len(split.images), split.captions, len(own), width, padded)
        )
    words = _vocabulary(plan.splits[0], tokenize)
    vocabulary = folder / f"{folder.resolve().name}_vocab.json"
    write_atomically(vocabulary, json.dumps(words))
    if statistics is not None:
        with _new_file(folder / STATISTICS) as file:
            np.savez(file, mean=statistics.mean, std=statistics.std)
    write_atomically(folder / DESCRIPTION, _description(store, plan, width, standardize) + "\n")
    return PrecompReport(tuple(written), words["idx"], vocabulary)


def one_line(caption: str) -> str:
    """A caption without line ends, as a file of one caption a line needs it."""
    return _LINE_END.sub(" ", caption).strip()


def check_place(folder: Path, *, overwrite: bool) -> list[Path]:
    """The files that writing to ``folder`` replaces, the description first.

    Raises:
        UsageError: if it is a file, or there are such files and ``overwrite`` is not asked for.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "name a folder with --out")
    old = [
        path
        for pattern in (
            DESCRIPTION,
            STATISTICS,
            "*_ims.npy",
            "*_lens.npy",
            "*_caps.txt",
            "*_ids.txt",
        )
        for path in sorted(folder.glob(pattern))
    ]
    if old and not overwrite:
        raise UsageError(
            f"{folder} holds precomputed features already, such as {old[0].name}",
            "--overwrite replaces them, --out writes elsewhere",
        )
    return old


def _prepare(folder: Path, *, overwrite: bool) -> None:
    old = check_place(folder, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in old:  # the description first: what follows is not whole until it is back
            path.unlink()
    except OSError as error:
        raise _not_written(folder, error) from error


def _blocks(
    store: RegionStore, rows: Int64, *, width: int, statistics: FeatureStatistics | None
) -> Iterator[Float32]:
    """(n, R, D) float32 after one another, padded with zeros."""
    for start in range(0, len(rows), _CHUNK):
        batch = store.gather(rows[start : start + _CHUNK], max_regions=width)
        features = batch.features.astype(np.float32)
        if statistics is not None:
            features = statistics.apply(features)
            features[~batch.mask] = 0
        block = np.zeros((len(features), width, store.feature_size), "<f4")
        block[:, : features.shape[1]] = features
        yield block


@contextmanager
def _array_file(path: Path, shape: tuple[int, ...], dtype: str = "<f4") -> Iterator[IO[bytes]]:
    """A ``.npy`` file whose content is then written block by block.

    Written and not mapped: a full disk is then an error that can be told, and not a crash.
    """
    with _new_file(path) as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield file


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name when it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _not_written(path, error) from error
        raise


def _not_written(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be written: {error.strerror or error}",
        "make room, mend the permissions, or name another folder with --out",
    )


def _write_lines(path: Path, lines: Iterator[str] | Sequence[str]) -> None:
    texts = list(lines)
    broken = next((text for text in texts if text != one_line(text)), None)
    if broken is not None:
        raise DataError(f"the image id {broken!r} is no line of a text file", "rename the image")
    write_atomically(path, "".join(f"{text}\n" for text in texts))


def _vocabulary(train: SplitPlan, tokenize: Tokenize) -> dict[str, Any]:
    """SCAN's JSON: words of training captions that occur ``MIN_COUNT`` times, in their order."""
    counts = Counter(
        word
        for image in train.images
        for caption in image.captions
        for word in tokenize(one_line(caption).lower())
    )
    words = [word for word, count in counts.items() if count >= MIN_COUNT]
    names = list(dict.fromkeys((*SPECIAL_WORDS, *words)))
    return {
        "word2idx": {name: index for index, name in enumerate(names)},
        "idx2word": {str(index): name for index, name in enumerate(names)},
        "idx": len(names),
    }


def _description(store: RegionStore, plan: PrecompPlan, width: int, standardize: bool) -> str:
    provenance = store.provenance
    return json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "regions": width,
            "feature_size": store.feature_size,
            "standardized": standardize,
            "first_region_is_whole_image": True,
            "row_per_caption": [s.name for s in plan.splits if s.row_per_caption],
            "detector": provenance.detector,
            "weights_sha256": provenance.weights_sha256,
            "store_fingerprint": store.fingerprint,
            "notes": list(plan.notes),
        },
        indent=1,
        ensure_ascii=False,
    )
