"""Training steps a second against the code of VSE-infinity's authors, on one exported store.

    git clone --branch bigru https://github.com/woodfrog/vse_infty
    OMP_NUM_THREADS=1 python -m benchmarks.authors vse_infty --workspace weaksup-workspace

The workspace needs a store, captions and annotations. Everybody reads the same images and kept
captions, 20 regions of an image, in batches of 128 gold pairs, at width 256. Each takes its turn in
every round, in a process of its own; columns are medians over the rounds, and the range. The
clock runs from one optimizer step to the next, with the reading of the batch.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import torch

from trainer.config import load_config
from trainer.evidence import sources
from trainer.logging import Event
from trainer.run import RunDescription
from trainer.train import train
from weaksup.corpora import match_ids, read_annotations, read_corpus
from weaksup.store import open_store
from weaksup.workspace import Workspace

AUTHORS = "authors"
MODELS = (AUTHORS, "vse-infty", "a3vse")
BATCH, WIDTH, REGIONS, WARM_UP = 128, 256, 20, 6


class Clock:
    """Times steps, prints their rate and ends the process."""

    def __init__(self, steps: int) -> None:
        self._steps, self._seen, self._began = steps, 0, 0.0

    def step(self) -> None:
        self._seen += 1
        if self._seen == WARM_UP:
            self._began = time.perf_counter()
        if self._seen == WARM_UP + self._steps:
            print(self._steps / (time.perf_counter() - self._began), flush=True)
            os._exit(0)

    def log(self, event: Event) -> None:
        if event.kind == "step":
            self.step()

    def close(self) -> None: ...


def run_ours(model: str, workspace: Workspace, clock: Clock, folder: Path) -> None:
    """Train a model as ``weaksup train`` does, until the clock ends it."""
    assert workspace.captions is not None
    overrides = {"batch_size": BATCH, "embed_size": WIDTH, "max_regions": REGIONS}
    config = load_config(
        model=model, file=None, overrides={name: str(value) for name, value in overrides.items()}
    )
    store = open_store(workspace.regions)
    train(
        config=config,
        store=store,
        corpus=match_ids(read_corpus(workspace.captions), store.ids),
        annotations=read_annotations(workspace.annotations),
        description=RunDescription(
            config=config,
            regions=store.path,
            captions=workspace.captions,
            annotations=workspace.annotations,
            provenance=store.provenance,
            fingerprint=store.fingerprint,
            feature_size=store.feature_size,
            sources=sources(store),
        ),
        folder=folder,
        resume=False,
        make_logger=lambda plan: clock,
    )


def run_authors(checkout: Path, exported: Path, width: int, clock: Clock, folder: Path) -> None:
    """Run the authors' training script, until the clock ends it.

    What only its logs and its reading of pictures need is left out. Their sentences are split
    without NLTK's downloaded data, and on a processor ``cuda()`` does nothing.
    """
    for name, content in (
        ("cv2", {}),
        ("imageio", {"imread": None}),
        ("tensorboard_logger", dict.fromkeys(("configure", "log_value"), lambda *_, **__: None)),
    ):
        module: Any = types.ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module
    import nltk

    words = nltk.tokenize.NLTKWordTokenizer()
    nltk.tokenize.word_tokenize = lambda text: [
        word for part in re.split(r"(?<=[.!?])\s+", text) for word in words.tokenize(part)
    ]
    if not torch.cuda.is_available():
        moved: Any = torch.Tensor
        moved.cuda = lambda self, *_, **__: self
    sys.path.insert(0, str(checkout))
    from lib.vse import VSEModel  # type: ignore[import-not-found]

    step = VSEModel.train_emb

    def timed(self: Any, *arguments: Any, **named: Any) -> None:
        step(self, *arguments, **named)
        clock.step()

    VSEModel.train_emb = timed
    import train as script

    options = {
        "data_path": exported / "f30k",
        "data_name": "f30k",
        "vocab_path": exported / "vocab",
        "logger_name": folder / "log",
        "model_name": folder / "model",
        "precomp_enc_type": "basic",
        "workers": 0,
        "embed_size": WIDTH,
        "img_dim": width,
        "batch_size": BATCH,
        "vse_mean_warmup_epochs": 1,
        "learning_rate": 5e-4,
    }
    sys.argv = ["train.py", *(f"--{name}={value}" for name, value in options.items())]
    vars(script)["main"]()


def export(workspace: Path, folder: Path) -> None:
    """The store as the authors' code reads it."""
    precomp = folder / "f30k" / "precomp"
    precomp.parent.mkdir()
    command = [sys.executable, "-m", "weaksup.cli", "export", "--workspace", str(workspace)]
    command += ["--out", str(precomp), "--standardize", "--max-regions", str(REGIONS)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (folder / "vocab").mkdir()
    shutil.copy(precomp / "precomp_vocab.json", folder / "vocab" / "f30k_precomp_vocab.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkout", type=Path, help="of the authors' code, branch bigru")
    add("--workspace", type=Path, default=Path("weaksup-workspace"))
    add("--rounds", type=int, default=5)
    add("--steps", type=int, default=13, help="that are timed in a round")
    add("--in", dest="inside", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    workspace = Workspace.open(given.workspace)
    if given.inside is not None:
        name, exported = given.inside
        with tempfile.TemporaryDirectory() as folder:
            clock = Clock(given.steps)
            if name == AUTHORS:
                width = open_store(workspace.regions).feature_size
                checkout = given.checkout.resolve()
                run_authors(checkout, Path(exported), width, clock, Path(folder))
            else:
                run_ours(name, workspace, clock, Path(folder))
        raise SystemExit(f"{name} has fewer than {WARM_UP + given.steps} steps: give fewer --steps")

    rates: dict[str, list[float]] = {name: [] for name in MODELS}
    with tempfile.TemporaryDirectory() as exported:
        export(given.workspace, Path(exported))
        for _ in range(given.rounds):
            for name in MODELS:
                command = [sys.executable, "-m", "benchmarks.authors", *sys.argv[1:]]
                command += ["--in", name, exported]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                rates[name].append(float(output.stdout.splitlines()[-1]))
    print("| | steps/s | range | against the authors' |\n|---|---|---|---|")
    for name, found in rates.items():
        ratios = [one / other for one, other in zip(found, rates[AUTHORS], strict=True)]
        print(
            f"| {name} | {statistics.median(found):.2f} | {min(found):.2f} to {max(found):.2f} "
            f"| {statistics.median(ratios):.2f} |"
        )


if __name__ == "__main__":
    main()
