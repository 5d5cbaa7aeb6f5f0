"""``weaksup suggest``: which images to write captions for next, and captions that were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weaksup.cli.options import (
    EXISTING,
    in_workspace,
    resolve_captions,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import Place, check_place
from weaksup.cli.runs import run_folder
from weaksup.corpora import (
    assign_splits,
    detect_format,
    find_captions,
    fingerprint,
    match_ids,
    match_names,
    read_annotations,
    read_corpus,
)
from weaksup.errors import DataError, UsageError
from weaksup.files import write_atomically
from weaksup.store import open_store, readable_ids
from weaksup.types import TRAIN, Annotations, Corpus
from weaksup.wording import counted
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.suggest.choose import StrategyName
    from trainer.run import Run
    from weaksup.store import RegionStore

# As pipelines.suggest.choose has them, which would load torch.
STRATEGIES = ("coverage", "diverse", "uncertain", "mixed", "random")
SUFFIXES = (".csv", ".html")
SHOWN = 5
_WORKSHEET = (
    "--add takes the csv file that `weaksup suggest --budget N` writes, with captions filled in"
)


@click.command("suggest")
@click.option("--budget", type=click.IntRange(min=1), metavar="N", help="How many images.")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="diverse",
    show_default=True,
    help="diverse: images that stand for how un-annotated ones look; coverage: concepts that few "
    "annotated images show; uncertain: images that a run cannot tell captions of apart; mixed: "
    "all of these; random.",
)
@click.option(
    "--run",
    metavar="DIR",
    help="Run whose embeddings are used, or its name.  [default: none; the latest for uncertain]",
)
@click.option(
    "--captions",
    type=EXISTING,
    metavar="FILE",
    help="Captions that the annotations were made from.  [default: the workspace's]",
)
@click.option(
    "--per-image",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Sentences that there is room for, an image.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice.")
@click.option(
    "--add",
    type=EXISTING,
    metavar="FILE",
    help="Instead: join a worksheet that was filled in with the captions that there are.",
)
@click.option(
    "--out",
    "outs",
    multiple=True,
    type=Place(),
    metavar="FILE",
    help="Worksheet, FILE.csv or, with pictures, FILE.html; repeatable. With --add the captions, "
    "FILE.csv.  [default: reports/suggest.csv and .html, and captions.csv, in the workspace]",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@workspace_option
def command(
    budget: int | None,
    strategy: StrategyName,
    run: str | None,
    captions: Path | None,
    per_image: int,
    seed: int,
    add: Path | None,
    outs: tuple[Path, ...],
    overwrite: bool,
    workspace_folder: Path | None,
) -> None:
    """Say which un-annotated images to write captions for next.

    A worksheet has empty rows for each image, in a csv file that is filled in, and pictures in a
    page. Filled in, --add joins it with the captions that there are.

    \b
    Examples:
      weaksup suggest --budget 300
      weaksup suggest --budget 100 --strategy mixed --run a3vse --out next.csv --out next.html
      weaksup suggest --add next.csv --out captions-2.csv
      weaksup subsample --captions captions-2.csv --ratio 1
    """
    if (budget is None) == (add is None):
        raise UsageError(
            "one of --budget and --add is needed",
            "--budget N makes a worksheet, --add FILE takes one that was filled in",
        )
    workspace = Workspace.open(workspace_folder)
    paths = list(outs) or _default_places(workspace, adding=add is not None)
    _check_places(paths, adding=add, overwrite=overwrite)
    if add is not None:
        _check_worksheet(add)
    store = open_store(workspace.require(workspace.regions, command="extract --images DIR"))
    readable = readable_ids(store)
    console = stdout()
    begins = add is None and captions is None and _has_no_captions(workspace)
    if begins:
        whole, annotations = _nothing(readable)
        corpus = whole
    else:
        whole = assign_splits(read_corpus(resolve_captions(workspace, captions, stderr())))
        corpus = match_ids(whole, readable)
        annotations = read_annotations(workspace.annotations)
    if add is not None:
        following = _add(console, paths[0], add, whole, corpus, annotations, store)
    else:
        assert budget is not None
        towers = _load(workspace, run, store, strategy=strategy)
        following = _suggest(
            console,
            paths,
            store=store,
            corpus=corpus,
            annotations=annotations,
            run=towers,
            strategy=strategy,
            budget=budget,
            per_image=per_image,
            seed=seed,
            folders=workspace.images,
            begins=begins,
        )
    console.print(in_workspace(following, workspace_folder), markup=False, highlight=False)


def _default_places(workspace: Workspace, *, adding: bool) -> list[Path]:
    if adding:
        return [workspace.folder / "captions.csv"]
    return [workspace.reports / f"suggest{suffix}" for suffix in SUFFIXES]


def _check_places(paths: Sequence[Path], *, adding: Path | None, overwrite: bool) -> None:
    """Refuse what cannot be written before anything is computed, and what people have written."""
    known = SUFFIXES[:1] if adding is not None else SUFFIXES
    if adding is not None and len(paths) > 1:
        raise UsageError("--add writes one file", "give --out once")
    for path in paths:
        check_place(path, option="--out")
        if path.suffix.lower() not in known:
            raise UsageError(
                f"--out {path}: what kind of file is not known", f"end it in {' or '.join(known)}"
            )
        if adding is not None and path.resolve() == adding.resolve():
            raise UsageError(f"--out {path} is the worksheet", "name another file with --out")
        if path.exists() and not overwrite:
            raise UsageError(
                f"{path} is there already, and may have been filled in",
                "name another file with --out, or replace it with --overwrite",
            )


def _has_no_captions(workspace: Workspace) -> bool:
    return (
        workspace.captions is None
        and not workspace.annotations.exists()
        and find_captions(workspace.images) is None
    )


def _nothing(readable: Sequence[str]) -> tuple[Corpus, Annotations]:
    """No captions, and all images un-annotated: where annotating begins."""
    corpus = Corpus((), source="no captions", format="none", fingerprint=fingerprint(()))
    annotations = Annotations(
        ratio=1.0,
        unit="image",
        strategy="random",
        seed=0,
        captions=corpus.source,
        fingerprint=corpus.fingerprint,
        annotated=(),
        unannotated=tuple(sorted(readable)),
    )
    return corpus, annotations


def _check_worksheet(path: Path) -> None:
    """Say of a file without images and captions that it is no worksheet, before all else is read.

    Raises:
        DataError: if it is none.
    """
    try:
        detect_format(path)
    except DataError as error:
        raise DataError(f"no worksheet: {error.message}", _WORKSHEET) from error


def _load(
    workspace: Workspace, name: str | None, store: RegionStore, *, strategy: str
) -> Run | None:
    if name is None and strategy != "uncertain":
        return None
    from trainer.run import load_run

    run = load_run(run_folder(workspace, name))
    run.check_store(store)
    return run


def _suggest(
    console: Console,
    paths: Sequence[Path],
    *,
    store: RegionStore,
    corpus: Corpus,
    annotations: Annotations,
    run: Run | None,
    strategy: StrategyName,
    budget: int,
    per_image: int,
    seed: int,
    folders: Sequence[Path],
    begins: bool,
) -> str:
    """Write the worksheet; what to do next."""
    from pipelines.suggest.choose import Pool
    from pipelines.suggest.page import render
    from pipelines.suggest.worksheet import worksheet

    with stderr().status("choosing"):
        pool = Pool(store=store, corpus=corpus, annotations=annotations, run=run, seed=seed)
        found = pool.rank(strategy, count=budget).reasons
    if not found:
        raise UsageError(
            f"the strategy {strategy} finds no image: none shows a concept",
            "take another with --strategy",
        )
    table = Table("", "image", "why", title=f"{strategy}, the first {min(SHOWN, len(found))}")
    for number, (image, reason) in enumerate(list(found.items())[:SHOWN], start=1):
        table.add_row(f"{number}", Text(image), Text(reason))
    console.print(table)
    console.print(
        f"{len(found):,} of {counted(len(pool.candidates), 'un-annotated training image')}",
        highlight=False,
    )
    if len(found) < min(budget, len(pool.candidates)):
        console.print(
            f"fewer than the {budget:,} asked for: no other shows a concept", highlight=False
        )
    sheet = None
    for path in paths:
        if path.suffix.lower() == ".csv":
            # The first captions are to be split three ways; later ones are trained on.
            split = "" if begins else TRAIN
            text, sheet = worksheet(found, per_image=per_image, split=split), path
        else:
            text = render(
                found,
                strategy=strategy,
                unannotated=len(pool.candidates),
                per_image=per_image,
                folders=folders,
            )
        write_atomically(path, text, hint="name another file with --out")
        console.print(f"written: {path}", markup=False, highlight=False)
    if sheet is None:
        return "next: `weaksup suggest` with --out FILE.csv gives the same images to fill in"
    if begins:
        return (
            f"next: write captions in {sheet}, then "
            f"`weaksup subsample --captions {sheet} --ratio 1`"
        )
    return (
        f"next: write captions in {sheet}, then "
        f"`weaksup suggest --add {sheet} --out captions-2.csv`"
    )


def _add(
    console: Console,
    path: Path,
    worksheet: Path,
    whole: Corpus,
    corpus: Corpus,
    annotations: Annotations,
    store: RegionStore,
) -> str:
    """Join a worksheet that was filled in with the captions; what to do next."""
    from pipelines.suggest.choose import check_fits
    from pipelines.suggest.worksheet import joined

    check_fits(corpus, annotations)
    readable = readable_ids(store)
    written = read_corpus(worksheet)
    if assign_splits(written).fingerprint == whole.fingerprint:
        raise DataError(
            f"{worksheet} has the captions that there are already, in {whole.source}", _WORKSHEET
        )
    filled = match_ids(written, readable)
    known = match_names([image.id for image in whole.images], readable)
    lacking = [image for image in whole.images if image.id not in known]
    for note in filled.notes:
        stderr().print(f"note: {note}", markup=False, highlight=False)
    write_atomically(
        path,
        joined(corpus, annotations, filled, lacking=lacking),
        hint="name another file with --out",
    )
    count = sum(len(image.captions) for image in filled.images)
    images = sum(bool(image.captions) for image in filled.images)
    console.print(
        f"{counted(count, 'new caption')} of {counted(images, 'image')}, beside those of "
        f"{counted(len(annotations.annotated), 'annotated one')}",
        highlight=False,
    )
    console.print(f"written: {path}", markup=False, highlight=False)
    return f"next: `weaksup subsample --captions {path} --ratio 1`"
