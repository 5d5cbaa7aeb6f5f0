"""How fast random batches come out of a region store, against other ways to keep features.

    python -m benchmarks.store_reading --images 4000

A round reads the same random batches with every reader, one after another in a new order each
time, so that a noisy machine is noisy for all of them. Reported: the median over all batches.
Before the rounds every reader reads every image once: the files are in the page cache, and what
is measured is the reader, not the disk.

- store: ``RegionStore.gather``, with boxes, scores, objects, attributes and mask.
- memory map: the features alone in a raw file, ``np.memmap``; the faster of one fancy index for
  the whole batch and one slice for each image.
- h5py, automatic chunks: the features alone, ``create_dataset(chunks=True)``, one slice for each
  image, in rising order.
- npz, compressed: a file an image with features and boxes as bottom-up-attention.pytorch writes
  it, ``np.savez_compressed`` of float32.
- npz, plain: the same by ``np.savez``, features as float16.
- LMDB, where it is installed: a value an image under its id, the bytes of the float16 features and
  of the boxes behind them; one read transaction a batch, values are copied out of the map.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from weaksup.store import StoreItem, open_store, write_store
from weaksup.types import STATUS_OK, Provenance, Regions

# Nothing here waits for a disk: on a machine that does other work too, CPU time says what the wall
# would say on an idle one.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
HAS_LMDB = importlib.util.find_spec("lmdb") is not None

Reader = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float16]]


def random_items(
    images: int, *, regions: int, feature_size: int, seed: int = 0
) -> Iterator[StoreItem]:
    """Random items with ``regions`` regions each."""
    generator = np.random.default_rng(seed)
    for _ in range(images):
        corners = np.sort(generator.random((regions, 2, 2), dtype=np.float32), axis=1)
        yield StoreItem(
            size=(480, 640),
            status=STATUS_OK,
            regions=Regions(
                boxes=corners.reshape(regions, 4),
                features=generator.random((regions, feature_size), dtype=np.float32),
                scores=generator.random(regions, dtype=np.float32),
                objects=generator.integers(0, 80, regions, dtype=np.int32),
                attributes=generator.integers(-1, 20, (regions, 3), dtype=np.int32),
            ),
        )


def name_of(image: int) -> str:
    return f"{image:06d}.jpg"


def write_files(folder: Path, *, images: int, regions: int, feature_size: int) -> None:
    """``regions.h5`` (the store), and the same features in ``features.raw``, ``chunked.h5``, the
    folders ``plain`` and ``compressed`` of npz files, and ``lmdb``."""
    path = write_store(
        folder / "regions.h5",
        random_items(images, regions=regions, feature_size=feature_size),
        ids=[name_of(number) for number in range(images)],
        feature_size=feature_size,
        attribute_slots=3,
        objects=[f"object {number}" for number in range(80)],
        attributes=[f"attribute {number}" for number in range(20)],
        provenance=Provenance("benchmark", "", {}),
    )
    shape = (images * regions, feature_size)
    raw = np.memmap(folder / "features.raw", np.float16, "w+", shape=shape)
    with h5py.File(path, "r") as store, h5py.File(folder / "chunked.h5", "w") as chunked:
        source = store["region/feature"]
        copy = chunked.create_dataset("feature", shape, np.float16, chunks=True)
        step = 64 * regions
        for start in range(0, len(source), step):
            raw[start : start + step] = copy[start : start + step] = source[start : start + step]
        raw.flush()
    features = raw.reshape(images, regions, feature_size)
    boxes = [open_store(path).regions(image).boxes for image in range(images)]
    write_npz(folder, features, boxes)
    if HAS_LMDB:
        write_lmdb(folder / "lmdb", features, boxes)


def write_npz(folder: Path, features: npt.NDArray[np.float16], boxes: list[Any]) -> None:
    """Both folders of npz files."""
    for name in ("plain", "compressed"):
        (folder / name).mkdir()
    for image, (rows, corners) in enumerate(zip(features, boxes, strict=True)):
        rest = {"bbox": corners, "num_bbox": len(corners), "image_h": 480, "image_w": 640}
        np.savez(folder / "plain" / f"{name_of(image)}.npz", x=rows, **rest)
        full = rows.astype(np.float32)
        np.savez_compressed(folder / "compressed" / f"{name_of(image)}.npz", x=full, **rest)


def write_lmdb(path: Path, features: npt.NDArray[np.float16], boxes: list[Any]) -> None:
    import lmdb

    # The map is as large as the file may become.
    with (
        lmdb.open(str(path), map_size=2 * features.nbytes + (64 << 20)) as database,
        database.begin(write=True) as transaction,
    ):
        for image, (rows, corners) in enumerate(zip(features, boxes, strict=True)):
            value = rows.tobytes() + corners.tobytes()
            transaction.put(name_of(image).encode(), value)


def readers(folder: Path, *, images: int, regions: int, feature_size: int) -> dict[str, Reader]:
    """Each returns (B, R, D) float16 for (B,) indices."""
    store = open_store(folder / "regions.h5")
    raw = np.memmap(folder / "features.raw", np.float16, "r").reshape(images, regions, feature_size)
    rows = raw.reshape(-1, feature_size)
    chunked = h5py.File(folder / "chunked.h5", "r")["feature"]

    def fancy(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        return np.asarray(raw[indices])

    def slices(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        batch = np.empty((len(indices), regions, feature_size), np.float16)
        for place, index in enumerate(indices.tolist()):
            batch[place] = rows[index * regions : (index + 1) * regions]
        return batch

    def chunks(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        batch = np.empty((len(indices), regions, feature_size), np.float16)
        for place in np.argsort(indices).tolist():
            start = int(indices[place]) * regions
            batch[place] = chunked[start : start + regions]
        return batch

    found: dict[str, Reader] = {
        "store": lambda indices: store.gather(indices).features,
        "memory map, fancy": fancy,
        "memory map, slices": slices,
        "h5py, automatic chunks": chunks,
        "npz, compressed": npz_reader(folder / "compressed", regions, feature_size),
        "npz, plain": npz_reader(folder / "plain", regions, feature_size),
    }
    if HAS_LMDB:
        found["LMDB"] = lmdb_reader(folder / "lmdb", regions, feature_size)
    return found


def npz_reader(folder: Path, regions: int, feature_size: int) -> Reader:
    def read(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        batch = np.empty((len(indices), regions, feature_size), np.float16)
        boxes = np.empty((len(indices), regions, 4), np.float32)
        for place, image in enumerate(indices.tolist()):
            with np.load(folder / f"{name_of(image)}.npz") as file:
                batch[place], boxes[place] = file["x"], file["bbox"]
        return batch

    return read


def lmdb_reader(path: Path, regions: int, feature_size: int) -> Reader:
    import lmdb

    # As training reads it: random places, so that reading ahead would only cost.
    database = lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    count = regions * feature_size

    def read(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        batch = np.empty((len(indices), count), np.float16)
        boxes = np.empty((len(indices), regions * 4), np.float32)
        with database.begin(buffers=True) as transaction:
            for place, image in enumerate(indices.tolist()):
                value = transaction.get(name_of(image).encode())
                batch[place] = np.frombuffer(value, np.float16, count)
                boxes[place] = np.frombuffer(value, np.float32, offset=2 * count)
        return batch.reshape(-1, regions, feature_size)

    return read


def measure(
    candidates: dict[str, Reader],
    *,
    images: int,
    batch_size: int,
    batches: int,
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """Images a second of every reader, for each batch of each round."""
    generator = np.random.default_rng(1)
    for indices in np.array_split(np.arange(images), -(-images // batch_size)):
        contents = {read(indices).tobytes() for read in candidates.values()}
        assert len(contents) == 1, "the readers do not agree"
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        wanted = [
            generator.choice(images, min(batch_size, images), replace=False) for _ in range(batches)
        ]
        for name in generator.permutation(list(candidates)):
            for indices in wanted:
                begin = clock()
                batch = candidates[name](indices)
                rates[name].append(len(indices) / (clock() - begin))
                del batch
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--feature-size", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=8, help="of a round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument(
        "--folder", type=Path, help="where to put the files for the time of the run"
    )
    options = parser.parse_args()
    shape = {
        "images": options.images,
        "regions": options.regions,
        "feature_size": options.feature_size,
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_files(Path(folder), **shape)
        rates = measure(
            readers(Path(folder), **shape),
            images=options.images,
            batch_size=options.batch_size,
            batches=options.batches,
            rounds=options.rounds,
            clock=CLOCKS[options.clock],
        )
    medians = {name: statistics.median(values) for name, values in rates.items()}
    table = Table(
        title=f"{options.images} images, {options.regions} x {options.feature_size} float16, "
        f"random batches of {options.batch_size}, {options.clock} time"
    )
    table.add_column("reader", no_wrap=True)
    for column in ("images/s", "quartiles", "store / this"):
        table.add_column(column, justify="right")
    for name, values in rates.items():
        ratio = medians["store"] / medians[name]
        table.add_row(
            name,
            f"{medians[name]:,.0f}",
            " to ".join(f"{value:,.0f}" for value in np.quantile(values, (0.25, 0.75))),
            f"{ratio:.2f}",
        )
    Console().print(table)
    fastest_map = max(medians["memory map, fancy"], medians["memory map, slices"])
    print(
        f"store / memory map: {medians['store'] / fastest_map:.2f} (target 0.8 or more); "
        f"store / h5py: {medians['store'] / medians['h5py, automatic chunks']:.1f} "
        "(target 5 or more)"
    )
    if not HAS_LMDB:
        print("LMDB is not installed, and was left out: pip install lmdb")


if __name__ == "__main__":
    main()
