"""``weaksup inspect``: what a store, a run or one image holds."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weaksup.cli.json_file import json_option, write_json
from weaksup.cli.options import in_workspace, regions_option, stderr, stdout, workspace_option
from weaksup.cli.places import Place
from weaksup.cli.runs import recorded_file, run_folder
from weaksup.cli.show_image import show_image
from weaksup.cli.show_run import show_run
from weaksup.cli.show_store import show_store, store_json, why_unusable
from weaksup.errors import UsageError
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from trainer.run import RunDescription
    from weaksup.store import RegionStore

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@click.command("inspect")
@click.option("--run", metavar="DIR", help="Also show this run: its folder, or its name.")
@regions_option(default="the run's, or the workspace's")
@click.option("--image", metavar="ID", help="Show this image instead, by its id in the store.")
@click.option(
    "--picture",
    type=Place(),
    metavar="FILE",
    help="Draw --image with boxes, names and scores: .png, .jpg or .webp.",
)
@click.option(
    "--text",
    metavar="SENTENCE",
    help="With --image: how a run weighs its regions and these words.  [run: --run, or the latest]",
)
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N")
@json_option("what is shown")
@workspace_option
def command(
    run: str | None,
    regions: Path | None,
    image: str | None,
    picture: Path | None,
    text: str | None,
    top: int,
    json_file: Path | None,
    workspace_folder: Path | None,
) -> None:
    """Show what a region store or a run holds, and draw an image of it.

    \b
    Examples:
      weaksup inspect
      weaksup inspect --run a3vse
      weaksup inspect --image beach/001.jpg --picture out.png
      weaksup inspect --image beach/001.jpg --text "two children build a castle" --picture out.png
    """
    from weaksup.store import open_store

    for name, given in (("--picture", picture), ("--text", text)):
        if given is not None and image is None:
            raise UsageError(f"{name} is about one image", "name it with --image ID")
    if picture is not None and picture.suffix.lower() not in PICTURES:
        raise UsageError(
            f"--picture {picture}: unknown suffix '{picture.suffix}'",
            f"known: {', '.join(PICTURES)}",
        )
    if text is not None and not text.strip():
        raise UsageError("--text is empty", "give a sentence")
    out = stdout()
    workspace = Workspace.open(workspace_folder)
    folder = run_folder(workspace, run) if run is not None or text is not None else None
    description = _description(folder) if folder is not None else None
    if regions is None and description is not None and folder is not None:
        regions = recorded_file(description.regions, folder.name, option="--regions")
    regions = regions or workspace.require(workspace.regions, command="extract --images DIR")
    store = open_store(regions)
    if image is not None:
        content = show_image(out, workspace, store, image, picture, text, folder)
    else:
        from weaksup.inspect.summary import summarise

        summary = summarise(store, top=top)
        show_store(out, store, summary)
        content = {"store": store_json(store, summary)}
        if folder is not None and description is not None:
            content["run"] = show_run(out, folder, description)
    if json_file is not None:
        write_json(json_file, content)
        out.print(f"written: {json_file}", markup=False, highlight=False)
    unusable = why_unusable(store)
    if unusable is None:
        following = _next(store, image, picture, folder)
    else:
        stderr().print(f"warning: {unusable.message}", markup=False, highlight=False)
        following = f"next: {unusable.hint}"
    out.print(in_workspace(following, workspace_folder), markup=False, highlight=False)


def _next(store: RegionStore, image: str | None, picture: Path | None, folder: Path | None) -> str:
    if image is None and len(store):
        example = json.dumps(store.ids[0], ensure_ascii=False)
        return f"next: `weaksup inspect --image {example} --picture out.png` draws an image"
    if picture is None:
        return "next: --picture out.png draws it"
    if folder is None:
        return 'next: --text "a sentence" shows how a run weighs it'
    named = shlex.quote(folder.name)
    return f"next: `weaksup evaluate --run {named}` says how the run does on all of the test"


def _description(folder: Path) -> RunDescription:
    from trainer.run import RunDescription

    return RunDescription.read(folder)
