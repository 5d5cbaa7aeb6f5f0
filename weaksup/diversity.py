"""An order of vectors in which the first ones stand for all.

Letters: N vectors, D width, R references, S that are taken already.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from weaksup.types import Float32, Int64

Float64 = npt.NDArray[np.float64]

# A table of cosines has so many cells at most, unless that leaves too few references: 256 MB.
CELLS, FEWEST = 1 << 26, 512
# Rows of a temporary array.
_CHUNK = 64


def standardise(vectors: Float32) -> Float32:
    """Each column to mean 0 and deviation 1, then each row to length 1: (N, D) float32.

    A column that is the same in all rows says nothing and becomes 0, and so does a row that is
    the mean.
    """
    mean = vectors.sum(axis=0, dtype=np.float64) / max(len(vectors), 1)
    squares = np.zeros_like(mean)
    for start in range(0, len(vectors), _CHUNK):
        squares += np.square(vectors[start : start + _CHUNK] - mean).sum(axis=0)
    deviation = np.sqrt(squares / max(len(vectors), 1))
    # What rounding leaves of a constant column is no deviation.
    told = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    scale = np.where(told, 1 / np.where(told, deviation, 1), 0).astype(np.float32)
    result: Float32 = (vectors - mean.astype(np.float32)) * scale
    lengths = np.linalg.norm(result, axis=1, keepdims=True)
    result /= np.where(lengths > 0, lengths, 1)
    return result


def representative_first(vectors: Float32, *, taken: Float32 | None = None) -> Iterator[int]:
    """Places of the vectors, the ones that are most like all others, and unlike one another, first.

    Greedy facility location: each place that comes adds most to ``sum over references i of max over
    taken j of max(0, cosine(i, j))``. The references are the first vectors: all where there are up
    to 8,192, and R = ``CELLS / N`` but never under :data:`FEWEST` of more, so the caller shuffles.
    What adds as much as another comes in the order in which it stands.

    Unlike farthest-point traversal this leaves outliers for the end: they are far from everything,
    and stand for nothing. Sources: Nemhauser, Wolsey, Fisher, "An analysis of approximations for
    maximizing submodular set functions", 1978; Wei, Iyer, Bilmes, "Submodularity in Data Subset
    Selection and Active Learning", ICML 2015 (for choosing what to label).

    It costs O(N R D) operations in one matrix product, O(N) a place, and O(N) for each time that a
    reference is better represented than before: some R log N times in all. Memory is 4 N R bytes.

    Args:
        vectors: (N, D) float32, rows of length 1 or 0.
        taken: (S, D) float32, likewise, what is there already; None for nothing.
    """
    references = vectors[: max(FEWEST, CELLS // max(len(vectors), 1))]
    cosines = references @ vectors.T
    best = np.zeros(len(references), np.float32)
    known = vectors[:0] if taken is None else taken
    for start in range(0, len(known), _CHUNK):
        nearer = (references @ known[start : start + _CHUNK].T).max(axis=1)
        np.maximum(best, nearer, out=best)
    gains = _between(cosines, best, np.full(len(best), np.inf, np.float32))
    for _ in range(len(vectors)):
        place = int(gains.argmax())
        yield place
        gains[place] = -np.inf
        now = np.maximum(best, cosines[:, place])
        rows = np.flatnonzero(now > best)
        gains -= _between(cosines, best, now, rows=rows)
        best = now


def _between(
    cosines: Float32, low: Float32, high: Float32, *, rows: Int64 | None = None
) -> Float64:
    """(N,) how much of each column of (R, N) lies between (R,) bounds, summed over the rows."""
    wanted = np.arange(len(cosines)) if rows is None else rows
    total = np.zeros(cosines.shape[1])
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        bottom, top = low[chunk, None], high[chunk, None]
        total += (np.clip(cosines[chunk], bottom, top) - bottom).sum(axis=0)
    return total
