"""Steps a second of every model that learns by gradients, and what a step waits for.

    python -m benchmarks.training --device cpu --steps 10

Each model runs in a process of its own, through the very ``train`` that ``weaksup train`` calls,
on a generated store (benchmarks/generated.py), and is stopped after its steps. The first
steps are not counted. Columns:

- before: seconds until the first step is done: data, statistics, and what is solved in closed
  form.
- steps/s, images/s: images are all that a step reads, un-annotated ones too.
- waiting: the share of the time for which a step waits for its batch. Without workers that is
  the whole reading.
- own MB, MB: peak resident memory of the training process, without and with the pages of the store.
- GPU MB, GPU busy: peak of torch's allocations, and the share of time with a kernel running.
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

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.generated import Shape, make_captions, write_store
from benchmarks.resources import GpuWatch, MemoryWatch
from trainer.config import MODEL_NAMES, TrainConfig, load_config
from trainer.device import make_accelerator
from trainer.evidence import sources
from trainer.logging import Event
from trainer.run import RunDescription
from trainer.train import train
from weaksup.store import open_store

CLOSED_FORM = ("cca",)
MODELS = tuple(name for name in MODEL_NAMES if name not in CLOSED_FORM)
WARM_UP = 3
SPLIT = 0.2  # share of the images that is annotated


class EnoughError(Exception):
    """All steps have been timed."""


class Stopwatch:
    """A logger that times steps and ends the run; see ``trainer.logging.Logger``."""

    def __init__(self, *, steps: int, gpu: GpuWatch | None) -> None:
        self.steps, self.gpu = steps, gpu
        self.seconds = self.waited = self.first_step = 0.0
        self.images = self._seen = 0
        self._began = time.perf_counter()

    def log(self, event: Event) -> None:
        if event.kind != "step":
            return
        now = time.perf_counter()
        self._seen += 1
        if self._seen == 1:
            self.first_step = now
        if self._seen <= WARM_UP:
            if self._seen == WARM_UP and self.gpu is not None:
                self.gpu.start()
        else:
            self.images += event.images
            self.waited += event.waited
            self.seconds += now - self._began
        self._began = time.perf_counter()
        if self._seen == WARM_UP + self.steps:
            raise EnoughError

    def close(self) -> None: ...


def run_steps(config: TrainConfig, folder: Path, shape: Shape, watch: Stopwatch) -> None:
    """Train on the generated world of ``folder`` until the stopwatch has enough.

    Raises:
        SystemExit: if the run has fewer steps than are timed.
    """
    store = open_store(folder / "regions.h5")
    corpus, annotations = make_captions(shape)
    description = RunDescription(
        config=config,
        regions=store.path,
        captions=Path("generated"),
        annotations=Path("generated"),
        provenance=store.provenance,
        fingerprint=store.fingerprint,
        feature_size=store.feature_size,
        sources=sources(store),
    )
    with tempfile.TemporaryDirectory() as run:
        try:
            train(
                config=config,
                store=store,
                corpus=corpus,
                annotations=annotations,
                description=description,
                folder=Path(run),
                resume=False,
                make_logger=lambda plan: watch,
            )
        except EnoughError:
            return
    raise SystemExit(f"a run has fewer than {WARM_UP + watch.steps} steps: give more --images")


def measure(config: TrainConfig, folder: Path, shape: Shape, *, steps: int) -> dict[str, Any]:
    """Train for some steps; the figures of the table."""
    accelerator = make_accelerator(device=config.device, precision=config.precision)
    on_gpu = accelerator.device.type == "cuda"
    watch = Stopwatch(steps=steps, gpu=GpuWatch() if on_gpu else None)
    began = time.perf_counter()
    with MemoryWatch() as memory:
        run_steps(config, folder, shape, watch)
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "precision": accelerator.mixed_precision,
        "before": watch.first_step - began,
        "steps": steps / watch.seconds,
        "images": watch.images / watch.seconds,
        "waiting": watch.waited / watch.seconds,
        "own": memory.peak.own,
        "total": memory.peak.total,
        "gpu": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None,
        "busy": watch.gpu.stop() if watch.gpu is not None else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", action="append", choices=MODELS, help="repeatable (all)")
    add("--images", type=int, default=0, help="of the store (as many as the steps need)")
    add("--regions", type=int, default=36, help="of an image (36)")
    add("--feature-size", type=int, default=2048, help="width of a region feature (2048)")
    add("--batch-size", type=int, default=128, help="gold pairs a step (128)")
    add("--steps", type=int, default=20, help=f"that are timed, after {WARM_UP} others (20)")
    add("--device", default="auto", help="auto, cpu, cuda (auto)")
    add("--precision", default="auto", help="auto, fp32, bf16, fp16 (auto)")
    add("--workers", type=int, default=0, help="processes that read batches ahead (0)")
    add("--words", type=int, default=8000, help="different words of the captions (8000)")
    add("--folder", type=Path, help="where the store is for the time of the run")
    add("--json", type=Path, help="write the figures there, too")
    add("--in", dest="inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()

    needed = (WARM_UP + given.steps + 1) * given.batch_size // Shape.captions + 1
    images = max(given.images, round(needed / SPLIT))
    shape = Shape(
        images=images,
        regions=given.regions,
        feature_size=given.feature_size,
        annotated=round(SPLIT * images),
        words=given.words,
    )
    models = given.model or list(MODELS)
    if given.inside is not None:
        overrides = {
            "device": given.device,
            "precision": given.precision,
            "workers": str(given.workers),
            "batch_size": str(given.batch_size),
            "max_regions": str(given.regions),
        }
        config = load_config(model=models[-1], file=None, overrides=overrides)
        print(json.dumps(measure(config, given.inside, shape, steps=given.steps)))
        return

    results = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        began = time.perf_counter()
        write_store(Path(folder, "regions.h5"), shape)
        print(f"store written in {time.perf_counter() - began:.1f} s", file=sys.stderr)
        for model in models:
            # A process of its own, so that its peaks are its own. There the last --model counts.
            command = [sys.executable, "-m", "benchmarks.training", *sys.argv[1:]]
            command += ["--model", model, "--in", folder]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            results[model] = json.loads(output.splitlines()[-1])
            print(f"{model}: {results[model]['steps']:.2f} steps/s", file=sys.stderr)
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(results, shape, given)


def show(results: dict[str, Any], shape: Shape, given: argparse.Namespace) -> None:
    first = next(iter(results.values()))
    table = Table(
        title=f"{shape.images:,} images, {shape.regions} x {shape.feature_size}, "
        f"{given.batch_size} pairs a step, {given.steps} steps, {given.workers} workers, "
        f"{first['device']}, mixed precision: {first['precision']}",
    )
    table.add_column("model", no_wrap=True)
    for column in (
        "before",
        "steps/s",
        "images/s",
        "waiting",
        "own MB",
        "MB",
        "GPU MB",
        "GPU busy",
    ):
        table.add_column(column, justify="right")
    for model, found in results.items():
        table.add_row(
            model,
            f"{found['before']:.1f} s",
            f"{found['steps']:.2f}",
            f"{found['images']:,.0f}",
            f"{found['waiting']:.0%}",
            f"{found['own']:,.0f}",
            f"{found['total']:,.0f}",
            "-" if found["gpu"] is None else f"{found['gpu']:,.0f}",
            "-" if found["busy"] is None else f"{found['busy']:.0%}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
