"""Candidates for nearest embeddings, without looking at all of them: FAISS.

What is found here is scored again from the embeddings themselves (``trainer/index.py``), so that
the structures may be coarse: their order matters little, and their scores not at all.

Letters: N embeddings, d their width, k candidates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from weaksup.errors import DataError, MissingDependencyError, UsageError
from weaksup.types import Float32, Int64

Kind = Literal["exact", "hnsw", "ivfpq"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Up to so many embeddings. docs/benchmarks.md has the figures behind them.
EXACT_UNTIL, HNSW_UNTIL = 50_000, 200_000

HNSW_LINKS, HNSW_BUILD_EFFORT, HNSW_SEARCH_EFFORT = 32, 40, 256
# Lists to look into, of about 2 sqrt(N).
PROBES = 224
# Embeddings that the lists' centres and the codes are learnt from, for each list.
TRAINING_ROWS_A_LIST = 40
CENTRE_ROUNDS = 10
LEAST_TRAINED = 256
# Half a byte each.
MOST_CODES, CHANNELS_A_CODE = 256, 2
CHUNK = 65536
INSTALL = "pip install 'weaksup[search]', or search with --kind exact"


def choose_kind(count: int) -> Kind:
    """What suits so many embeddings: exact search while that is fast, the least memory last."""
    if count <= EXACT_UNTIL:
        return "exact"
    return "hnsw" if count <= HNSW_UNTIL else "ivfpq"


def available() -> bool:
    """Whether FAISS is installed."""
    try:
        _faiss()
    except MissingDependencyError:
        return False
    return True


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "indexes of the kinds hnsw and ivfpq need faiss, which is not installed", INSTALL
        ) from error
    return faiss


class Approximate:
    """A FAISS index.

    Embeddings have length 1, so that those of the largest product are those of the least distance,
    by which FAISS's structures are coded better.

    Args:
        index: FAISS's own.
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, rows: Float32, *, kind: Kind, seed: int = 0) -> Approximate:
        """Index (N, d) float32 embeddings of length 1, which may be mapped from a file.

        ``hnsw`` keeps a graph of neighbours and a byte a channel; ``ivfpq`` lists around centres,
        and product-quantised codes of a quarter of a byte a channel, after a rotation that spreads
        the variance over all of them. Codes are half a byte, so that tables of them fit the
        processor's registers (Andre, Kermarrec, Le Scouarnec, "Cache locality is not enough", VLDB
        2015): more lists can be looked into than with whole bytes in the same time.

        Raises:
            MissingDependencyError: if FAISS is not installed.
            UsageError: if there are too few embeddings to learn codes from.
            ValueError: for ``exact``, which needs no index.
        """
        faiss = _faiss()
        count, width = rows.shape
        if kind == "ivfpq" and count < LEAST_TRAINED:
            raise UsageError(
                f"--kind ivfpq learns from {LEAST_TRAINED} images or more, here are {count}",
                "use --kind exact",
            )
        if kind == "hnsw":
            index = faiss.IndexHNSWSQ(
                width, faiss.ScalarQuantizer.QT_8bit, HNSW_LINKS, faiss.METRIC_L2
            )
            index.hnsw.efConstruction = HNSW_BUILD_EFFORT
            sample = min(count, CHUNK)
        elif kind == "ivfpq":
            lists = max(1, min(round(2 * count**0.5), count // TRAINING_ROWS_A_LIST))
            # As many axes as there are images can be told apart.
            codes = max(1, min(MOST_CODES, min(width, count) // CHANNELS_A_CODE))
            index = faiss.index_factory(
                width,
                f"PCAR{codes * CHANNELS_A_CODE},IVF{lists},PQ{codes}x4fs",
                faiss.METRIC_L2,
            )
            inner = faiss.downcast_index(faiss.extract_index_ivf(index))
            inner.cp.niter = CENTRE_ROUNDS
            # FAISS warns on stdout of less than it likes best.
            inner.cp.min_points_per_centroid = inner.pq.cp.min_points_per_centroid = 1
            sample = min(count, max(lists, LEAST_TRAINED) * TRAINING_ROWS_A_LIST)
        else:
            raise ValueError(f"{kind} needs no index")
        chosen = np.sort(np.random.default_rng(seed).choice(count, sample, replace=False))
        index.train(np.ascontiguousarray(rows[chosen]))
        result = cls(index)
        result.add(rows)
        return result

    def add(self, rows: Float32) -> None:
        """Index (n, d) more embeddings, behind those that are there."""
        for start in range(0, len(rows), CHUNK):
            self._index.add(np.ascontiguousarray(rows[start : start + CHUNK]))

    def candidates(self, query: Float32, count: int) -> Int64:
        """At most k = ``count`` places for a (d,) query, in no order that can be relied on."""
        faiss = _faiss()
        if isinstance(self._index, faiss.IndexHNSW):
            settings = faiss.SearchParametersHNSW(efSearch=max(HNSW_SEARCH_EFFORT, count))
        else:
            inner = faiss.SearchParametersIVF(nprobe=PROBES)
            settings = faiss.SearchParametersPreTransform(index_params=inner)
        threads = faiss.omp_get_max_threads()
        # Threads that wait for one another cost more than a single query gains by them.
        faiss.omp_set_num_threads(1)
        try:
            _, places = self._index.search(query[None], count, params=settings)
        finally:
            faiss.omp_set_num_threads(threads)
        found: Int64 = places[0][places[0] >= 0]
        return found

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def write(self, path: Path) -> None:
        """Write FAISS's file."""
        _faiss().write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path) -> Approximate:
        """Read what ``write`` wrote.

        Raises:
            DataError: if it is missing or damaged.
            MissingDependencyError: if FAISS is not installed.
        """
        faiss = _faiss()
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{path} is damaged: {reason}", "run `weaksup index` again") from error
