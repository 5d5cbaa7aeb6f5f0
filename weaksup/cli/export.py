"""``weaksup export``: regions and captions in the layout that other tools read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from weaksup.cli.options import (
    EXISTING,
    progress,
    regions_option,
    resolve_captions,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import Place
from weaksup.cli.process import terminated_is_interrupted
from weaksup.corpora import match_ids, read_annotations, read_corpus
from weaksup.store import open_store
from weaksup.store.convert.plan import SPLIT_NAMES, plan_precomp
from weaksup.types import VAL
from weaksup.wording import counted
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from weaksup.store.convert.precomp_writer import PrecompReport

FORMATS = ("precomp",)


@click.command("export")
@click.option(
    "--format",
    "layout",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="precomp: the files that VSE++, SCAN and VSE-infinity read.",
)
@click.option(
    "--out",
    type=Place(file=False, folder=True),
    required=True,
    metavar="DIR",
    help="Folder to write.",
)
@regions_option(default="the workspace's")
@click.option(
    "--captions",
    type=EXISTING,
    metavar="FILE",
    help="Captions of any known format; not remembered.  [default: the workspace's]",
)
@click.option(
    "--annotations",
    type=EXISTING,
    metavar="FILE",
    help="Which training captions are written.  [default: the workspace's; all if it has none]",
)
@click.option(
    "--max-regions",
    type=click.IntRange(1, 1000),
    default=36,
    show_default=True,
    help="Most regions an image; the whole image is one of them.",
)
@click.option(
    "--captions-per-image",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Of val and test: images with fewer are left out, further captions cut.",
)
@click.option(
    "--standardize",
    is_flag=True,
    help="Every feature channel to mean 0 and deviation 1 over the training images written.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@workspace_option
@terminated_is_interrupted()
def command(
    layout: str,
    out: Path,
    regions: Path | None,
    captions: Path | None,
    annotations: Path | None,
    max_regions: int,
    captions_per_image: int,
    standardize: bool,
    overwrite: bool,
    workspace_folder: Path | None,
) -> None:
    """Write regions and captions for other tools.

    A split is SPLIT_ims.npy, SPLIT_caps.txt and SPLIT_ids.txt, for train, dev and test. With
    annotations, train holds the captions that they keep, and nothing of other images.

    \b
    Examples:
      weaksup export --out mine_precomp
      weaksup export --out mine_precomp --standardize --max-regions 20
    """
    from weaksup.store.convert.precomp_writer import check_place, write_precomp

    # Before anything is read and told: notes above an error hide it.
    check_place(out, overwrite=overwrite)
    notices = stderr()
    workspace = Workspace.open(workspace_folder)
    regions = regions or workspace.require(workspace.regions, command="extract --images DIR")
    store = open_store(regions)
    corpus = match_ids(read_corpus(resolve_captions(workspace, captions, notices)), store.ids)
    if annotations is None and workspace.annotations.exists():
        annotations = workspace.annotations
    kept = None if annotations is None else read_annotations(annotations)
    plan = plan_precomp(corpus, store, kept, captions_per_image=captions_per_image)
    for note in (*corpus.notes, *plan.notes):
        notices.print(f"note: {note}", markup=False)
    with progress(notices) as bar:
        task = bar.add_task("writing", total=None, rate="")
        report = write_precomp(
            out,
            store,
            plan,
            max_regions=max_regions,
            standardize=standardize,
            tokenize=_tokenize,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console = stdout()
    console.print(_table(report))
    source = "all training captions" if annotations is None else annotations
    for line in (
        f"training captions: {source}",
        f"vocabulary: {counted(report.words, 'word')} in {report.vocabulary}",
        *_padding(report),
        f"written: {out}",
        _next(report, out.resolve(), store.feature_size),
    ):
        console.print(line, markup=False, highlight=False)


def _tokenize(caption: str) -> list[str]:
    """Words as NLTK's ``word_tokenize`` gives them, without its downloaded sentence model."""
    from nltk.tokenize import NLTKWordTokenizer

    sentences = re.split(r"(?<=[.!?])\s+", caption)
    return [word for text in sentences for word in NLTKWordTokenizer().tokenize(text)]


def _next(report: PrecompReport, folder: Path, width: int) -> str:
    validation = SPLIT_NAMES[VAL]
    if validation not in (split.name for split in report.splits):
        return (
            f"the tools do not train without {validation}: lower --captions-per-image, or name "
            "captions that have val images with --captions"
        )
    where = shlex.quote(str(folder.parent)), shlex.quote(folder.name), shlex.quote(str(folder))
    return (
        "next: in SCAN's code, python train.py --data_path {} --data_name {} --vocab_path {} "
        "--img_dim {}".format(*where, width)
    )


def _table(report: PrecompReport) -> Table:
    table = Table("split")
    for name in ("images", "captions", "rows", "regions a row", "padded rows"):
        table.add_column(name, justify="right")
    for split in report.splits:
        numbers = (split.images, split.captions, split.rows, split.regions, split.padded)
        table.add_row(split.name, *(f"{number:,}" for number in numbers))
    return table


def _padding(report: PrecompReport) -> list[str]:
    padded, rows = (sum(getattr(s, name) for s in report.splits) for name in ("padded", "rows"))
    if not padded:
        return []
    return [
        f"rows that have fewer regions than the others, and end in zeros, which the tools take for "
        f"regions: {padded:,} of {rows:,}; a smaller --max-regions pads fewer"
    ]
