"""``weaksup train``: a retrieval model from what the workspace holds."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weaksup.cli.options import (
    EXISTING,
    captions_option,
    complete_model,
    in_workspace,
    parse_assignments,
    regions_option,
    resolve_captions,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.process import terminated_is_interrupted
from weaksup.cli.training_folder import (
    check_runs_place,
    choose_folder,
    claim_folder,
    interrupted_folder,
)
from weaksup.errors import DataError
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from trainer.config import TrainConfig
    from trainer.distributed import World
    from trainer.logging import Logger
    from trainer.train import Plan, TrainingResult

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@click.command("train")
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=complete_model,
    help="a3vse, vsepp, vse-infty, scan or cca.  [default: the configuration's, or a3vse]",
)
@click.option("--config", type=EXISTING, metavar="FILE", help="Settings as TOML.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, such as epochs=20 or loss.w_adv=0.1. Repeatable; wins over --config.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="The same as --set epochs=N.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="The same as --set seed=N.")
@click.option("--name", help="Name of the run's folder.  [default: the model's name]")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run of that name.")
@regions_option(default="the workspace's")
@captions_option
@click.option(
    "--annotations",
    type=EXISTING,
    metavar="FILE",
    help="Which captions are kept.  [default: the workspace's]",
)
@workspace_option
@terminated_is_interrupted()
def command(
    model: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    epochs: int | None,
    seed: int | None,
    name: str | None,
    resume: bool,
    regions: Path | None,
    captions: Path | None,
    annotations: Path | None,
    workspace_folder: Path | None,
) -> None:
    """Train a retrieval model on gold captions and regional semantics.

    An interrupted run goes on when the same command is given again. Started by torchrun or
    accelerate, it trains one run on several processes.

    \b
    Examples:
      weaksup train
      weaksup train --model cca
      weaksup train --name adversary --set loss.w_adv=0.1
      torchrun --nproc-per-node 2 -m weaksup.cli train
    """
    from trainer.config import load_config
    from trainer.launch import join_world

    with join_world() as world:
        overrides = parse_assignments(assignments)
        given = {"epochs": epochs, "seed": seed}
        overrides.update({key: str(value) for key, value in given.items() if value is not None})
        settings = load_config(model=model, file=config, overrides=overrides)
        # The first process speaks for all.
        notices = stderr(quiet=not world.first)
        result, folder = _train(
            settings,
            Workspace.open(workspace_folder),
            name=name,
            resume=resume,
            regions=regions,
            captions=captions,
            annotations=annotations,
            notices=notices,
            world=world,
        )
    if world.first:
        _report(result, folder)
        following = in_workspace("next: `weaksup evaluate`", workspace_folder)
        stdout().print(following, markup=False, highlight=False)


def _train(
    settings: TrainConfig,
    workspace: Workspace,
    *,
    name: str | None,
    resume: bool,
    regions: Path | None,
    captions: Path | None,
    annotations: Path | None,
    notices: Console,
    world: World,
) -> tuple[TrainingResult, Path]:
    """Read what the workspace holds or the options name, and train a run of it.

    Returns:
        What training came to, and the run's folder.
    """
    from trainer.evidence import sources
    from trainer.run import RunDescription
    from trainer.train import run_fingerprint, train
    from weaksup.corpora import match_ids, read_annotations, read_corpus
    from weaksup.store import open_store

    # Before anything else is said.
    world.on_first(lambda: check_runs_place(workspace, name=name, settings=settings, resume=resume))
    regions = regions or workspace.require(workspace.regions, command="extract --images DIR")
    annotations = annotations or workspace.require(
        workspace.annotations, command="subsample --ratio 0.2"
    )
    captions_file = resolve_captions(workspace, captions, notices)
    store = open_store(regions)
    corpus = match_ids(read_corpus(captions_file), store.ids)
    kept = read_annotations(annotations)
    # Others are refused below, and must not stand in the way of the next bare `train`.
    if captions is not None and kept.fingerprint == corpus.fingerprint and world.first:
        workspace.remember(captions=captions)
    for note in corpus.notes:
        notices.print(f"note: {note}", markup=False)

    description = RunDescription(
        config=settings,
        regions=regions.resolve(),
        captions=captions_file.resolve(),
        annotations=annotations.resolve(),
        provenance=store.provenance,
        fingerprint=store.fingerprint,
        feature_size=store.feature_size,
        sources=sources(store),
    )
    fingerprint = run_fingerprint(settings, store, corpus, kept)

    def choose() -> tuple[Path, bool]:
        if resume:
            return interrupted_folder(workspace, name=name, settings=settings), True
        return choose_folder(workspace, name=name, description=description, fingerprint=fingerprint)

    with ExitStack() as stack:
        # The folder is locked by one process, and written by it alone.
        folder, resumes = world.on_first(
            lambda: claim_folder(choose, stack, fingerprint=fingerprint)
        )
        if resumes:
            notices.print(f"resuming {folder}", markup=False)
        stack.enter_context(_disk_errors_named(folder))
        result = train(
            config=settings,
            store=store,
            corpus=corpus,
            annotations=kept,
            description=description,
            folder=folder,
            resume=resumes,
            make_logger=lambda plan: _loggers(plan, folder, notices),
            world=world,
        )
    return result, folder


@contextmanager
def _disk_errors_named(folder: Path) -> Iterator[None]:
    """Say which folder is meant where a write fails, whose error names no file.

    Raises:
        DataError: if the disk is full or does not work.
    """
    from trainer.checkpoint import NOT_WRITTEN

    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS or error.filename is not None:
            raise
        raise DataError(f"{folder} cannot be written: {error.strerror}", NOT_WRITTEN) from error


def _loggers(plan: Plan, folder: Path, console: Console) -> Logger:
    from trainer.live import LiveView
    from trainer.logging import JsonlLogger, Loggers, TensorBoardLogger

    for note in plan.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    resume_step = plan.start_step or None
    return Loggers(
        [
            JsonlLogger(folder / "metrics.jsonl", resume_step=resume_step),
            TensorBoardLogger(folder / "tensorboard", resume_step=resume_step),
            LiveView(
                console,
                epochs=plan.epochs,
                total_steps=plan.total_steps,
                start_step=plan.start_step,
                best=plan.best_rsum,
            ),
        ]
    )


def _report(result: TrainingResult, folder: Path) -> None:
    out = stdout()
    if result.best_epoch:
        out.print(f"best epoch {result.best_epoch} of {result.epochs}", highlight=False)
    if not math.isnan(result.best_rsum):
        out.print(f"val rsum {result.best_rsum:.1f}", highlight=False)
    out.print(f"written: {folder}", markup=False, highlight=False)
