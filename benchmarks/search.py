"""Time and recall of a search among a million embeddings.

    python -m benchmarks.search [--count 1000000] [--kind ivfpq --kind exact] [--threads 2]

The embeddings are generated: clusters, whose variance falls along the channels as that of an
a3vse run on Flickr8k does. Each query shares a part with one image, and the rest is its own:
sentences are no nearer to their images. Exact search among all says which ten images are right.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from trainer.approximate import KINDS, Approximate, Kind, choose_kind
from trainer.index import Index
from trainer.search import Gallery
from weaksup.types import Float32

WIDTH, TOP, QUERIES = 384, 10, 200
# The variance of channel i falls as (1 + i / KNEE) ** -DECAY: a fit to real embeddings, whose
# principal axes hold 8.9 % (the first), 1.2 % (the 16th), 0.3 % (the 64th), 0.05 % (the 256th).
KNEE, DECAY = 4.0, 1.2
IMAGES_A_CLUSTER = 250
# Shares of the variance: of an image's that is its cluster's, and of a query's that is its image's.
CLUSTER, SHARED = 0.5, 0.3
CHUNK = 65536


def generate(path: Path, count: int, *, seed: int = 0) -> tuple[Float32, Float32]:
    """(count, 384) images, mapped from ``path``, and (200, 384) queries, all of length 1."""
    generator = np.random.default_rng(seed)
    scale = ((1 + np.arange(WIDTH) / KNEE) ** (-DECAY / 2)).astype(np.float32)

    def draw(rows: int) -> Float32:
        return scale * generator.standard_normal((rows, WIDTH), dtype=np.float32)

    centres = draw(-(-count // IMAGES_A_CLUSTER))
    images = np.lib.format.open_memmap(path, "w+", np.float32, (count, WIDTH))
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        owner = generator.integers(len(centres), size=rows)
        images[start : start + rows] = _mixed(centres[owner], draw(rows), CLUSTER)
    images.flush()
    chosen = np.sort(generator.choice(count, QUERIES, replace=False))
    length = np.linalg.norm(scale)
    return np.load(path, mmap_mode="r"), _mixed(images[chosen] * length, draw(QUERIES), SHARED)


def _mixed(first: Float32, second: Float32, share: float) -> Float32:
    rows = share**0.5 * first + (1 - share) ** 0.5 * second
    result: Float32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return result


def right_answers(images: Float32, queries: Float32) -> tuple[np.ndarray, Float32]:
    """(200, 10) places, and the (200, 100) best scores, by products with all images."""
    parts = [queries @ images[start : start + CHUNK].T for start in range(0, len(images), CHUNK)]
    scores = np.concatenate(parts, axis=1)
    nearest = np.argpartition(-scores, 100, axis=1)[:, :100]
    found = np.take_along_axis(scores, nearest, 1)
    order = np.argsort(-found, axis=1)
    return np.take_along_axis(nearest, order, 1)[:, :TOP], np.take_along_axis(found, order, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--threads", type=int, default=2, help="of FAISS, to build with")
    arguments = parser.parse_args()
    try:
        import faiss

        faiss.omp_set_num_threads(arguments.threads)
    except ImportError:
        print("faiss is not installed: only --kind exact can be measured")
    kinds: list[Kind] = arguments.kind or [choose_kind(arguments.count), "exact"]
    with tempfile.TemporaryDirectory() as folder:
        images, queries = generate(Path(folder) / "images.npy", arguments.count)
        right, scores = right_answers(images, queries)
        means = ", ".join(f"{scores[:, place].mean():.2f}" for place in (0, 9, 99))
        print(
            f"{arguments.count:,} images of width {WIDTH}, built with {arguments.threads} threads"
        )
        print(f"mean cosine of a query and its 1st, 10th and 100th image: {means}")
        print(
            "kind    build s   file MB   recall@10   ms a query: median   95th %   CPU", flush=True
        )
        for kind in kinds:
            print(measure(kind, images, queries, right, folder=Path(folder)), flush=True)


def measure(
    kind: Kind, images: Float32, queries: Float32, right: np.ndarray, *, folder: Path
) -> str:
    """A line of the table: the index as ``weaksup search`` uses it, one query at a time."""
    began, approximate, megabytes = time.perf_counter(), None, 0.0
    if kind != "exact":
        approximate = Approximate.build(images, kind=kind)
        built = time.perf_counter() - began
        approximate.write(folder / "x.faiss")
        megabytes = (folder / "x.faiss").stat().st_size / 1e6
    else:
        built = 0.0
    ids = [str(place) for place in range(len(images))]
    nothing = Gallery(np.zeros((0, WIDTH), np.float32), 0)
    index = Index(kind, ids, Gallery(images, 0), (), nothing, (), approximate=approximate)
    index.search(queries[0], top=TOP)
    seconds, hits, cpu = [], 0, time.process_time()
    for query, places in zip(queries, right, strict=True):
        start = time.perf_counter()
        found = index.search(query, top=TOP)
        seconds.append(time.perf_counter() - start)
        hits += len({int(hit.image) for hit in found} & set(places.tolist()))
    cpu = (time.process_time() - cpu) / len(queries)
    median, high = np.percentile(np.array(seconds) * 1e3, [50, 95])
    recall = hits / right.size
    return (
        f"{kind:6}  {built:7.0f}   {megabytes:7.0f}   {recall:9.3f}   {median:18.1f}   "
        f"{high:6.1f}  {cpu * 1e3:5.1f}"
    )


if __name__ == "__main__":
    main()
