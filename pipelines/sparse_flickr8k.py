"""Flickr8k with a fifth of its captions: every model, over seeds, as one table.

    weaksup extract --images IMAGES --captions FILE --detector onnx --weights yolox_nano.onnx \\
        --feature-model mobilenet_v2.onnx --feature-size 448 --feature-labels imagenet_labels.txt \\
        --min-regions 20
    python -m pipelines.sparse_flickr8k

The official dev images are both the validation and the test here: the best epoch of every model is
chosen on the images that it is reported on. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from trainer.config import load_config
from trainer.evaluate import choose_split, evaluate_images, write_evaluation
from trainer.evidence import sources
from trainer.logging import JsonlLogger
from trainer.run import RunDescription, load_run
from trainer.train import train
from weaksup.corpora import match_ids, read_corpus, write_annotations
from weaksup.errors import DataError
from weaksup.store import RegionStore, open_store
from weaksup.subsample import subsample
from weaksup.types import VAL, Corpus
from weaksup.workspace import Workspace

GOLD_ONLY = (
    ("loss.w_weak", "0"),
    ("loss.w_bridge", "0"),
    ("loss.w_pseudo", "0"),
    ("loss.w_adv", "0"),
    ("fusion.concepts", "0"),
)


@dataclass(frozen=True)
class Variant:
    """A line of the table.

    Attributes:
        label: as the table shows it.
        model: as ``--model`` takes it.
        ratio: of the training images that keep their captions.
        settings: as ``--set`` takes them.
    """

    label: str
    model: str
    ratio: float = 0.2
    settings: tuple[tuple[str, str], ...] = ()


VARIANTS = (
    Variant("cca", "cca"),
    Variant("vse-infty", "vse-infty"),
    Variant("scan", "scan"),
    Variant("a3vse", "a3vse"),
    Variant("a3vse, gold pairs only", "a3vse", settings=GOLD_ONLY),
    Variant("a3vse, no concept tower", "a3vse", settings=(("fusion.concepts", "0"),)),
    Variant("a3vse, no pseudo-captions", "a3vse", settings=(("loss.w_pseudo", "0"),)),
    Variant("a3vse, no adversary", "a3vse", settings=(("loss.w_adv", "0"),)),
    Variant("cca, all captions", "cca", ratio=1.0),
    Variant("vsepp", "vsepp"),
)


def run_variant(
    variant: Variant,
    *,
    seed: int,
    store: RegionStore,
    corpus: Corpus,
    captions: Path,
    folder: Path,
) -> dict[str, Any]:
    """Subsample, train and evaluate once; what is there already is read back.

    Returns:
        The evaluation report, with ``seconds`` of training.
    """
    report_file = folder / f"evaluation-{VAL}.json"
    timing = folder / "seconds.json"
    if not (report_file.exists() and timing.exists()):
        kept = subsample(corpus, ratio=variant.ratio, seed=seed, store_ids=store.ids)
        folder.mkdir(parents=True, exist_ok=True)
        write_annotations(folder / "annotations.json", kept)
        config = load_config(
            model=variant.model, file=None, overrides={**dict(variant.settings), "seed": str(seed)}
        )
        began = time.monotonic()
        train(
            config=config,
            store=store,
            corpus=corpus,
            annotations=kept,
            description=RunDescription(
                config=config,
                regions=store.path.resolve(),
                captions=captions.resolve(),
                annotations=(folder / "annotations.json").resolve(),
                provenance=store.provenance,
                feature_size=store.feature_size,
                sources=sources(store),
            ),
            folder=folder,
            resume=(folder / "last.pt").exists(),
            make_logger=lambda plan: JsonlLogger(
                folder / "metrics.jsonl", resume_step=plan.start_step or None
            ),
        )
        seconds = time.monotonic() - began
        images = choose_split(corpus, store, VAL).images
        result = evaluate_images(load_run(folder), store, images)
        write_evaluation(
            report_file, result.report(split=VAL, model=variant.model, run=folder.name)
        )
        timing.write_text(json.dumps(seconds), encoding="utf-8")
    report: dict[str, Any] = json.loads(report_file.read_text(encoding="utf-8"))
    report["seconds"] = json.loads(timing.read_text(encoding="utf-8"))
    return report


def make_table(results: dict[str, list[dict[str, Any]]]) -> Table:
    """One line a variant: mean recalls, and mean and standard deviation of rsum."""
    table = Table("model", "i2t R@1/5/10", "t2i R@1/5/10", "rsum", "sd", "runs", "train s")
    for label, reports in results.items():
        rsums = [report["rsum"] for report in reports]
        table.add_row(
            label,
            _recalls(reports, "image_to_text"),
            _recalls(reports, "text_to_image"),
            f"{statistics.mean(rsums):.1f}",
            f"{statistics.stdev(rsums):.1f}" if len(rsums) > 1 else "-",
            str(len(rsums)),
            f"{statistics.median(report['seconds'] for report in reports):.0f}",
        )
    return table


def _recalls(reports: Sequence[dict[str, Any]], direction: str) -> str:
    means = (
        statistics.mean(report[direction][name] for report in reports)
        for name in ("R@1", "R@5", "R@10")
    )
    return "/".join(f"{mean:.1f}" for mean in means)


def main() -> None:
    """Run every variant for every seed and print the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workspace", help="as `weaksup --workspace`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", help="labels of the variants to run")
    arguments = parser.parse_args()
    workspace = Workspace.open(arguments.workspace)
    if workspace.captions is None:
        raise DataError(f"{workspace.folder} knows no captions", "give --captions to extract")
    store = open_store(workspace.require(workspace.regions, command="extract"))
    corpus = match_ids(read_corpus(workspace.captions), store.ids)
    wanted = [v for v in VARIANTS if not arguments.only or v.label in arguments.only]
    results: dict[str, list[dict[str, Any]]] = {variant.label: [] for variant in wanted}
    console = Console()
    for seed in arguments.seeds:
        for variant in wanted:
            name = variant.label.replace(", ", "-").replace(" ", "-")
            report = run_variant(
                variant,
                seed=seed,
                store=store,
                corpus=corpus,
                captions=workspace.captions,
                folder=workspace.reports / "sparse_flickr8k" / f"{name}-{seed}",
            )
            results[variant.label].append(report)
            print(f"{variant.label}, seed {seed}: rsum {report['rsum']:.1f}", flush=True)
    console.print(make_table(results))


if __name__ == "__main__":
    main()
