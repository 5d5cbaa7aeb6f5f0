"""``weaksup index``: embed all images of a store, to search in them."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weaksup.cli.options import (
    device_option,
    in_workspace,
    progress,
    regions_option,
    run_option,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import check_place
from weaksup.cli.process import alone_in, terminated_is_interrupted
from weaksup.cli.runs import run_folder, run_store
from weaksup.errors import UsageError
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from trainer.approximate import Kind
    from trainer.index import Index
    from trainer.run import Run
    from trainer.text import Vocabulary
    from weaksup.store import RegionStore

AUTO = "auto"


@click.command("index")
@run_option
@regions_option(default="the one that the run was trained on")
@click.option(
    "--kind",
    type=click.Choice([AUTO, "exact", "hnsw", "ivfpq"]),
    default=AUTO,
    show_default=True,
    help="exact looks at every image; hnsw and ivfpq need faiss. auto: exact up to 50,000 images, "
    "hnsw up to 200,000, ivfpq beyond.",
)
@click.option(
    "--add",
    is_flag=True,
    help="Put the images of --regions behind those that the index has; nothing is trained again.",
)
@device_option
@workspace_option
def command(
    run: str | None,
    regions: Path | None,
    kind: str,
    add: bool,
    device: str,
    workspace_folder: Path | None,
) -> None:
    """Embed all images, to search in them.

    Writes runs/NAME/index/: the embeddings of all images of the store, and of the captions that
    the run was trained on. An index belongs to the run's weights; after another training it is
    made again.

    \b
    Examples:
      weaksup index
      weaksup index --kind hnsw
      weaksup extract --images NEW_PICTURES --out new/regions.h5 ...
      weaksup index --regions new/regions.h5 --add
    """
    from trainer.index import write_index
    from trainer.run import load_run

    if add and regions is None:
        raise UsageError("--add needs the store of the new images", "name it with --regions FILE")
    workspace = Workspace.open(workspace_folder)
    loaded = load_run(run_folder(workspace, run), device=device)
    # Such as a colleague's: before the work.
    check_place(
        loaded.folder,
        hint="mend the permissions, or copy that folder and name the copy with --run, "
        "and the store with --regions",
    )
    store = run_store(loaded, regions, stderr())
    began = time.monotonic()
    with terminated_is_interrupted(), alone_in(loaded.folder, doing="working in"):
        index = _make(loaded, store, kind=kind, add=add)
        for note in index.notes:
            stderr().print(f"note: {note}", markup=False, highlight=False)
        written = write_index(index, loaded)
    out = stdout()
    following = f"next: weaksup search {shlex.quote(_example(written, loaded.vocabulary))}"
    if run is not None:
        following += f" --run {shlex.quote(run)}"
    for line in (
        f"images: {len(written):,}, of width {written.images.rows.shape[1]}, searched by "
        f"{written.kind} ({time.monotonic() - began:.1f} s)",
        f"captions: {len(written.known):,}",
        f"written: {written.folder}",
        in_workspace(following, workspace_folder),
    ):
        out.print(line, markup=False, highlight=False)


def _example(index: Index, vocabulary: Vocabulary) -> str:
    """A sentence to search for: a caption that the run was trained on, if the index has some.

    It is the first of which the run knows every word and that looks like no option; else the first.
    """
    from trainer.text import UNKNOWN

    captions = [" ".join(known.caption.split()) for known in index.known]
    for caption in captions:
        if UNKNOWN not in vocabulary.encode(caption) and not caption.startswith("-"):
            return caption
    return captions[0] if captions else "a dog runs through the snow"


def _make(run: Run, store: RegionStore, *, kind: str, add: bool) -> Index:
    from trainer.index import build_index, extend_index, open_index

    wanted: Kind | None = None if kind == AUTO else kind  # type: ignore[assignment]
    with progress(stderr()) as bar:
        task = bar.add_task("embedding", total=None, rate="")

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if add:
            return extend_index(open_index(run), run, store, kind=wanted, progress=advance)
        return build_index(run, store, kind=wanted, progress=advance)
