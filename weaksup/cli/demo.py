"""``weaksup demo``: the whole job on generated pictures, offline."""

from __future__ import annotations

from pathlib import Path

import click

from weaksup.cli.options import stdout
from weaksup.cli.places import Place


@click.command("demo")
@click.option(
    "--workspace",
    "workspace_folder",
    type=Place(file=False, folder=True),
    default=Path("demo-workspace"),
    show_default=True,
    metavar="DIR",
    help="Folder for everything that the demo makes.",
)
@click.option(
    "--scenes",
    type=click.IntRange(min=40),
    default=1700,
    show_default=True,
    help="Pictures to generate; 70 % train, 15 % val, 15 % test.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Of the networks.  [default: those of the demo's configuration]",
)
def command(workspace_folder: Path, scenes: int, epochs: int | None) -> None:
    """Run the whole job on generated pictures, offline.

    Generates scenes with captions, calls extract, subsample, train and evaluate on them, and ends
    with a table and a picture. Minutes on two processors. Called again, it goes on where it was
    interrupted, and does nothing again that is done.

    \b
    Examples:
      weaksup demo
      weaksup demo --scenes 400 --epochs 4
    """
    from pipelines.demo import run_demo

    run_demo(workspace_folder, scenes=scenes, epochs=epochs, console=stdout())
