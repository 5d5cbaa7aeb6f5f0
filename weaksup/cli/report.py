"""``weaksup report``: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from weaksup.cli.options import (
    EXISTING,
    in_workspace,
    regions_option,
    run_option,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import Place, check_place
from weaksup.cli.runs import recorded_file, run_folder, run_store
from weaksup.files import write_atomically
from weaksup.types import SPLITS, TEST
from weaksup.workspace import Workspace


@click.command("report")
@run_option
@click.option(
    "--out",
    type=Place(),
    metavar="FILE",
    help="Where to write it.  [default: report.html in the run's folder]",
)
@click.option("--split", type=click.Choice(SPLITS), default=TEST, show_default=True)
@regions_option(default="the one that the run was trained on")
@click.option(
    "--captions",
    type=EXISTING,
    metavar="FILE",
    help="Captions of any known format.  [default: those that the run was trained on]",
)
@workspace_option
def command(
    run: str | None,
    out: Path | None,
    split: str,
    regions: Path | None,
    captions: Path | None,
    workspace_folder: Path | None,
) -> None:
    """Write a run as one HTML file: recalls, curves, examples, and what to annotate next.

    The file needs no other: pictures and charts are inside, and it has no scripts. Captions and
    small pictures of the examples are in it, which matters where it is passed on.

    \b
    Examples:
      weaksup report
      weaksup report --run cca --split val --out cca.html
    """
    from pipelines.report.collect import collect
    from pipelines.report.page import render
    from trainer.run import load_run

    console = stdout()
    workspace = Workspace.open(workspace_folder)
    loaded = load_run(run_folder(workspace, run))
    name = loaded.folder.name
    captions_file = captions or recorded_file(loaded.captions, name, option="--captions")
    store = run_store(loaded, regions, stderr())
    loaded.check_store(store)
    path = out or loaded.folder / "report.html"
    check_place(path, option="--out")
    with stderr().status("evaluating, and drawing"):
        report = collect(loaded, store, captions_file, split=split)
        page = render(report, folders=workspace.images)
    write_atomically(path, page, hint="name another file with --out")
    console.print(
        f"rsum {report.evaluated.result.rsum:.1f} on {report.evaluated.split}", highlight=False
    )
    console.print(f"written: {path}", markup=False, highlight=False)
    following = f"next: open {path} in a browser, or look at one image with `weaksup inspect`"
    console.print(in_workspace(following, workspace_folder), markup=False, highlight=False)
