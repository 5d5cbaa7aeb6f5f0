"""How memory grows with the number of images.

    python -m benchmarks.memory                # 1, 10 and 100 times the images
    python -m benchmarks.memory --coco         # one store of COCO's size

Stores and captions are generated (benchmarks/generated.py). Every figure is the peak of a process
of its own. Stages:

- idle: the imports alone.
- read: opening the store, and 50 random batches of 128 images.
- train: the beginning of ``a3vse`` on 20 % annotated and 80 % un-annotated images: statistics,
  what is solved in closed form, and some steps.
- rank: a tenth of the images, and at most 5,000, embedded by a model and ranked against five
  captions each.

Own memory is what the process alone needs. The total has the mapped pages of the store, which the
system takes back when it needs them. ``--coco`` fails where a total is 4 GB or more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.generated import Shape, make_captions, write_store
from benchmarks.resources import MemoryWatch
from benchmarks.training import SPLIT, Stopwatch, run_steps
from trainer.build import Sizes, build_model
from trainer.config import load_config
from trainer.data import TrainingData
from trainer.evaluate import evaluate_images
from trainer.run import Towers
from weaksup.store import open_store
from weaksup.types import TEST

STAGES = ("idle", "read", "train", "rank")
BATCHES, BATCH_SIZE = 50, 128
COCO_IMAGES, COCO_TEST = 123_287, 5000
LIMIT_MB = 4000


def shape_of(images: int, given: argparse.Namespace) -> Shape:
    """The generated world of so many images; a fifth of those to train on is annotated."""
    tested = min(COCO_TEST, max(1, images // 10))
    return Shape(
        images=images,
        regions=given.regions,
        feature_size=given.feature_size,
        annotated=max(2, round(SPLIT * (images - tested))),
        words=given.words,
        classes=given.classes,
        tested=tested,
    )


def measure(stage: str, folder: Path, shape: Shape, *, steps: int) -> dict[str, float]:
    """Seconds and peaks of one stage, in this process."""
    began = time.perf_counter()
    with MemoryWatch() as memory:
        if stage != "idle":
            {"read": read, "train": train, "rank": rank}[stage](folder, shape, steps)
    return {
        "seconds": time.perf_counter() - began,
        "own": memory.peak.own,
        "total": memory.peak.total,
    }


def read(folder: Path, shape: Shape, steps: int) -> None:
    store = open_store(folder / "regions.h5")
    generator = np.random.default_rng(0)
    for _ in range(BATCHES):
        store.gather(generator.integers(0, len(store), BATCH_SIZE))


def train(folder: Path, shape: Shape, steps: int) -> None:
    overrides = {"device": "cpu", "batch_size": str(min(BATCH_SIZE, max(2, shape.annotated)))}
    config = load_config(model="a3vse", file=None, overrides=overrides)
    # The smallest worlds have several epochs in so many steps; a large one does not end its first.
    run_steps(config, folder, shape, Stopwatch(steps=steps, gpu=None))


def rank(folder: Path, shape: Shape, steps: int) -> None:
    """An untrained model takes the memory of a trained one."""
    config = load_config(model="a3vse", file=None, overrides={"device": "cpu"})
    store = open_store(folder / "regions.h5")
    corpus, annotations = make_captions(shape)
    data = TrainingData.build(
        store,
        corpus,
        annotations,
        unannotated=True,
        semantics=config.semantics,
        min_count=config.text.min_count,
    )
    torch.manual_seed(0)
    model = build_model(config, Sizes.of(data))
    towers = Towers(
        model=model,
        vocabulary=data.vocabulary,
        device=torch.device("cpu"),
        max_regions=config.max_regions,
    )
    evaluate_images(towers, store, corpus.split(TEST))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=int, default=200, help="of the smallest store (200)")
    add("--coco", action="store_true", help=f"one store of {COCO_IMAGES:,} images")
    add("--stage", action="append", choices=STAGES, help="repeatable (all)")
    add("--regions", type=int, default=36, help="of an image (36)")
    add("--feature-size", type=int, default=2048, help="width of a region feature (2048)")
    add("--classes", type=int, default=1000, help="of a feature network, 0 for none (1000)")
    add("--words", type=int, default=8000, help="different words of the captions (8000)")
    add("--steps", type=int, default=0, help="of training (5, with --coco 50)")
    add("--folder", type=Path, help="where the stores are for the time of the run")
    add("--json", type=Path, help="write the figures there, too")
    add("--in", dest="inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    steps = given.steps or (50 if given.coco else 5)
    stages = given.stage or list(STAGES)
    if given.inside is not None:
        shape = shape_of(given.images, given)
        print(json.dumps(measure(stages[-1], given.inside, shape, steps=steps)))
        return

    found: list[dict[str, Any]] = []
    for images in [COCO_IMAGES] if given.coco else [given.images * n for n in (1, 10, 100)]:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            began = time.perf_counter()
            write_store(Path(folder, "regions.h5"), shape_of(images, given))
            print(f"{images:,} images: {time.perf_counter() - began:.0f} s", file=sys.stderr)
            for stage in stages:
                command = [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:]]
                command += ["--stage", stage, "--images", str(images), "--in", folder]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                figures = json.loads(output.stdout.splitlines()[-1])
                found.append({"images": images, "stage": stage, **figures})
                print(f"{stage}: {figures['total']:,.0f} MB", file=sys.stderr)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    show(found, given)
    if given.coco and any(line["total"] >= LIMIT_MB for line in found):
        sys.exit(f"a stage took {LIMIT_MB:,} MB or more")


def show(found: list[dict[str, Any]], given: argparse.Namespace) -> None:
    table = Table(
        title=f"peak resident memory, {given.regions} regions x {given.feature_size} float16"
    )
    for column in ("images", "features", "stage", "own MB", "MB", "seconds"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for line in found:
        size = 2 * line["images"] * given.regions * given.feature_size
        table.add_row(
            f"{line['images']:,}",
            f"{size / 1e9:.2f} GB",
            line["stage"],
            f"{line['own']:,.0f}",
            f"{line['total']:,.0f}",
            f"{line['seconds']:.1f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
