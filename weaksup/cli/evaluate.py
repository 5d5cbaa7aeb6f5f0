"""``weaksup evaluate``: Recall@K in both directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weaksup.cli.json_file import json_option, write_json
from weaksup.cli.options import (
    EXISTING,
    device_option,
    in_workspace,
    regions_option,
    run_option,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import check_place
from weaksup.cli.runs import recorded_file, run_folder, run_store
from weaksup.errors import DataError, UsageError
from weaksup.types import SPLITS, TEST, TRAIN
from weaksup.wording import counted
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from trainer.evaluate import EvaluationResult, ProtocolName
    from trainer.reranking import RerankResult
    from trainer.run import Run

COCO_5K = 5000
CHOSEN_ON_VAL = "the best epoch was chosen on these very images, which flatters the figures"


@click.command("evaluate")
@run_option
@regions_option(default="the one that the run was trained on")
@click.option(
    "--captions",
    type=EXISTING,
    metavar="FILE",
    help="Captions of any known format; not remembered.  [default: those that the run was trained "
    "on]",
)
@click.option("--split", type=click.Choice(SPLITS), default=TEST, show_default=True)
@click.option(
    "--protocol",
    type=click.Choice(["auto", "full", "folds-1k"]),
    default="auto",
    show_default=True,
    help="Rank among all images, or the mean of five folds of 1,000 (COCO 1K). auto is full.",
)
@click.option(
    "--rerank",
    "top",
    type=click.IntRange(min=1),
    metavar="K",
    help="Also re-rank the K best of every list by cross attention of regions and words (a3vse).",
)
@click.option(
    "--rerank-weight",
    type=click.FloatRange(min=0),
    metavar="WEIGHT",
    help="What cross attention counts beside the similarity; needs --rerank.  [default: 0.02]",
)
@device_option
@json_option("the figures")
@workspace_option
def command(
    run: str | None,
    regions: Path | None,
    captions: Path | None,
    split: str,
    protocol: ProtocolName,
    top: int | None,
    rerank_weight: float | None,
    device: str,
    json_file: Path | None,
    workspace_folder: Path | None,
) -> None:
    """Report Recall@K in both directions.

    Images and captions of one split are ranked against one another, with the worst place for
    ties. Where the captions name no test images, val is used, and the output says so. Figures on
    other data than the run's own go to a file of their own, evaluation-SPLIT-other.json.

    \b
    Examples:
      weaksup evaluate
      weaksup evaluate --run cca --split val
      weaksup evaluate --rerank 50
    """
    from trainer.checkpoint import STATE
    from trainer.evaluate import choose_split, evaluate_images, write_evaluation
    from trainer.reranking import RERANK_WEIGHT, RerankOptions
    from trainer.run import load_run
    from weaksup.corpora import match_ids, read_corpus

    out, notices = stdout(), stderr()
    if top is None and rerank_weight is not None:
        raise UsageError("--rerank-weight says nothing without --rerank", "add --rerank 50")
    rerank = None
    if top is not None:
        weight = RERANK_WEIGHT if rerank_weight is None else rerank_weight
        if not math.isfinite(weight):  # click's range lets them pass
            raise UsageError(f"--rerank-weight {weight} is no weight", "give one such as 0.02")
        rerank = RerankOptions(top=top, weight=weight)
    workspace = Workspace.open(workspace_folder)
    loaded = load_run(run_folder(workspace, run), device=device)
    # A run that may only be read, such as a colleague's, can be evaluated, too.
    if json_file is None:
        check_place(loaded.folder, hint="mend the permissions, or name a file with --json")
    captions_file = captions or recorded_file(
        loaded.captions, loaded.folder.name, option="--captions"
    )
    store = run_store(loaded, regions, notices)
    loaded.check_store(store)
    other_store = store.fingerprint != loaded.description.fingerprint
    other = other_store or _is_other(captions, loaded.captions)
    corpus = match_ids(read_corpus(captions_file), store.ids)
    chosen = choose_split(corpus, store, split)
    notes = [*corpus.notes, *chosen.notes]
    if (loaded.folder / STATE).exists():
        notes.append(
            f"the training of the run {loaded.folder.name} has not ended: these are its best "
            "weights so far"
        )
    # Who asks for val knows; other data had no part in training.
    if chosen.name != split and not other and loaded.description.config.has_epochs:
        notes.append(CHOSEN_ON_VAL)
    for note in notes:
        notices.print(f"note: {note}", markup=False)
    if other or chosen.name == TRAIN:
        # Otherwise training has refused every image of the split.
        _warn_of_training_images(loaded, [image.id for image in chosen.images], notices)
    with notices.status(f"ranking {counted(len(chosen.images), 'image')}"):
        result = evaluate_images(
            loaded, store, chosen.images, protocol=protocol, rerank_options=rerank
        )
    report = {
        **result.report(split=chosen.name, model=loaded.model_name, run=loaded.folder.name),
        "captions_file": str(captions_file.resolve()),
        "regions_file": str(store.path.resolve()),
    }
    written = loaded.folder / f"evaluation-{chosen.name}{'-other' if other else ''}.json"
    _show(out, result, loaded, chosen.name)
    failure = None
    try:
        write_evaluation(written, report)
        out.print(f"written: {written}", markup=False)
    except UsageError as error:
        failure = f"the figures could not be kept: {error.message}"
    if json_file is not None:
        write_json(json_file, report)
        out.print(f"written: {json_file}", markup=False)
    if failure is not None:
        if json_file is None:
            raise DataError(
                failure, "make room, mend the permissions, or name another file with --json"
            )
        notices.print(f"warning: {failure}", markup=False, highlight=False)
    out.print(in_workspace(_next(loaded, result, protocol), workspace_folder), markup=False)


def _next(run: Run, result: EvaluationResult, protocol: ProtocolName) -> str:
    if protocol == "auto" and result.images == COCO_5K:
        return "next: `weaksup evaluate --protocol folds-1k` gives the 1K figure"
    model = "cca" if run.model_name != "cca" else "a3vse"
    return f"next: `weaksup train --model {model}` trains a model to compare it with"


def _is_other(given: Path | None, recorded: Path) -> bool:
    """Whether a file is given in place of the run's own; not if that one is gone: it has moved."""
    return given is not None and recorded.exists() and given.resolve() != recorded.resolve()


def _warn_of_training_images(run: Run, images: Sequence[str], notices: Console) -> None:
    """Say how many of the images the run was trained on, going by their ids."""
    from trainer.train import reads_unannotated
    from weaksup.corpora import read_annotations

    source = run.description.annotations
    try:
        annotations = read_annotations(source)
    except DataError:
        text = f"whether the run was trained on these images is not known: {source} cannot be read"
    else:
        seen = {*annotations.annotated}
        if reads_unannotated(run.description.config):
            seen.update(annotations.unannotated)
        count = sum(image in seen for image in images)
        if not count:
            return
        text = (
            f"{count:,} of {counted(len(images), 'evaluated image')} in the training of the run "
            f"{run.folder.name}, by id: the figures do not say how it does on new images"
        )
    notices.print(f"warning: {text}", markup=False, highlight=False)


def _show(out: Console, result: EvaluationResult, run: Run, split: str) -> None:
    from trainer.metrics import bootstrap_interval

    title = Text(f"{run.folder.name} ({run.model_name}) on {split}", style="table.title")
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("R@1", "R@5", "R@10", "median rank", "mean rank"):
        table.add_column(name, justify="right")
    for direction, metrics in (
        ("image to text", result.image_to_text),
        ("text to image", result.text_to_image),
    ):
        table.add_row(direction, *(f"{value:.1f}" for value in metrics.values()))
    out.print(table)
    low, high = bootstrap_interval(result.folds)
    out.print(
        f"rsum {result.rsum:.1f} (95 % bootstrap interval over images {low:.1f} to {high:.1f})"
    )
    out.print(
        f"{counted(result.images, 'image')}, {counted(result.captions, 'caption')}, "
        f"protocol {result.protocol}"
    )
    if result.rerank is not None:
        _show_rerank(out, result.rerank)


def _listed(result: RerankResult) -> str:
    """How long the lists are: there may be less than was asked for."""
    top = result.options.top
    images = max(len(ranks.image_to_text) for ranks in result.folds)
    captions = max(len(ranks.text_to_image) for ranks in result.folds)
    if top <= images:
        return f"{top:,}"
    return f"{counted(images, 'image')} and {counted(min(top, captions), 'caption')}"


def _show_rerank(out: Console, result: RerankResult) -> None:
    out.print(
        f"re-ranked, best {_listed(result)} by cross attention x {result.options.weight:g}: "
        f"rsum {result.rsum:.1f} ({result.gain:+.1f})"
    )
    for name, metrics in (
        ("image to text", result.image_to_text),
        ("text to image", result.text_to_image),
    ):
        recalls = ", ".join(f"R@{k} {metrics[f'R@{k}']:.1f}" for k in (1, 5, 10))
        out.print(f"  {name}: {recalls}")
    out.print(
        f"  {result.pairs:,} pairs in {result.seconds:.1f} s, "
        f"{result.queries_per_second:,.0f} queries/s"
    )
