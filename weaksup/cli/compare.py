"""``weaksup compare``: models x ratios x seeds, with tables and plots."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from weaksup.cli.options import (
    EXISTING,
    in_workspace,
    regions_option,
    resolve_captions,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import check_place
from weaksup.cli.process import terminated_is_interrupted
from weaksup.workspace import Workspace


@click.command("compare")
@click.argument("config", metavar="CONFIG")
@click.option(
    "--only",
    multiple=True,
    metavar="LABEL",
    help="Train this label alone; repeatable. Tables still show everything that is done.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trainings at a time, each in a process with its share of the processors.",
)
@click.option(
    "--discard-runs",
    is_flag=True,
    help="Keep the figures and ranks of what is done, and delete its weights.",
)
@click.option("--no-plots", is_flag=True, help="Draw no plots; they need matplotlib.")
@regions_option(default="the workspace's")
@click.option(
    "--captions",
    type=EXISTING,
    metavar="FILE",
    help="Captions of any known format; not remembered.  [default: the workspace's]",
)
@workspace_option
@terminated_is_interrupted()
def command(
    config: str,
    only: tuple[str, ...],
    jobs: int,
    discard_runs: bool,
    no_plots: bool,
    regions: Path | None,
    captions: Path | None,
    workspace_folder: Path | None,
) -> None:
    """Compare models over ratios of captions and over seeds.

    CONFIG is a TOML file, or the name of a comparison that comes with weaksup: flickr8k, flickr30k,
    coco, flickr8k-baselines. Every cell subsamples, trains and evaluates; one that is done is not
    done again, and an interrupted one goes on when the same command is given again.
    annotations.json of the workspace plays no part.

    \b
    Examples:
      weaksup compare flickr8k
      weaksup compare mine.toml --jobs 4
      weaksup compare mine.toml --only cca --only "a3vse, adversary"
    """
    from pipelines.compare.config import find_config, load_comparison
    from pipelines.compare.run import Options, compare

    file = find_config(config)
    comparison = load_comparison(file)
    out, notices = stdout(), stderr()
    workspace = Workspace.open(workspace_folder)
    folder = workspace.reports / "compare" / comparison.name
    check_place(folder, option="--workspace")
    compare(
        comparison,
        regions=regions or workspace.require(workspace.regions, command="extract --images DIR"),
        captions=resolve_captions(workspace, captions, notices),
        folder=folder,
        options=Options(only=only, jobs=jobs, discard_runs=discard_runs, plots=not no_plots),
        out=out,
        notices=notices,
    )
    out.print(in_workspace(_next(config, file), workspace_folder), markup=False, highlight=False)


def _next(config: str, file: Path) -> str:
    """What to do now; a comparison that comes with weaksup is not to be written in."""
    only_new = "only what is new is trained"
    if Path(config) == file:
        named = shlex.quote(config)
        return f"next: add to {config} and run `weaksup compare {named}`: {only_new}"
    return f"next: copy {file} to mine.toml, add to it, and `weaksup compare mine.toml`: {only_new}"
