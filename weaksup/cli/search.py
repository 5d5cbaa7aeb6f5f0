"""``weaksup search``: the images that fit a sentence, or another image."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weaksup.cli.options import (
    in_workspace,
    models_option,
    progress,
    run_option,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import Place, check_place
from weaksup.cli.runs import recorded_file, run_folder, run_store
from weaksup.errors import DataError, UsageError
from weaksup.images import locate_image
from weaksup.wording import counted, decimals
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from trainer.index import Index
    from trainer.run import Run
    from trainer.search import CaptionHit, Hit
    from weaksup.types import Float32

# Captions that the table shows below the images.
SHOWN_CAPTIONS = 5
PICTURE = Path("search.png")


@click.command("search")
@click.argument("text", required=False)
@click.option(
    "--image",
    metavar="FILE",
    help="Search for a picture in place of a sentence: an image of the index, by its id or its "
    "file, or a new picture file.",
)
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N")
@click.option(
    "--find",
    type=click.Choice(["images", "captions"]),
    default="images",
    show_default=True,
    help="Captions are those that the run was trained on.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "picture"]),
    default="table",
    show_default=True,
)
@click.option(
    "--out",
    type=Place(),
    metavar="FILE",
    help="Where --format picture goes: .png, .jpg or .webp.  [default: search.png, here]",
)
@run_option
@models_option
@workspace_option
def command(
    text: str | None,
    image: str | None,
    top: int,
    find: str,
    form: str,
    out: Path | None,
    run: str | None,
    models: tuple[Path, ...],
    workspace_folder: Path | None,
) -> None:
    """Find the images that fit a sentence, or another image.

    Searches the run's index; without one, all images of the store that the run was trained on.
    The JSON is {"query", "results": [{"image", "score"}, ...]}; with --find captions each result
    has its "caption", too.

    \b
    Examples:
      weaksup search "a dog runs through the snow"
      weaksup search "two children on a swing" --top 3 --format json
      weaksup search "a red car" --format picture --out red-cars.png
      weaksup search --image holidays/IMG_2041.jpg --find captions
    """
    from trainer.run import load_run

    text = text.strip() if text is not None else None
    _check(text=text, image=image, find=find, form=form, out=out)
    workspace = Workspace.open(workspace_folder)
    loaded = load_run(run_folder(workspace, run))
    index = _index(loaded, captions=find == "captions" or (image is not None and form == "table"))
    if text is not None:
        _warn_of_unknown_words(loaded, text, stderr())
        embedding, own = loaded.encode_texts([text])[0], None
    else:
        embedding, own = _image_embedding(
            str(image), loaded, index, workspace, files=(*models, *workspace.models)
        )
    by_image, query = image is not None, str(text if text is not None else own or image)
    hits: list[Hit] = []
    captions: list[CaptionHit] = []
    if find == "captions":
        _require_captions(index)
        captions = index.search_captions(embedding, top=top, image=by_image)
    else:
        # The picture itself, the first of its own results, is no news.
        found = index.search(embedding, top=top + (own is not None), image=by_image)
        hits = [hit for hit in found if hit.image != own][:top]
        if by_image and form == "table":
            captions = index.search_captions(embedding, top=SHOWN_CAPTIONS)
    if form == "json":
        results = [asdict(hit) for hit in (captions if find == "captions" else hits)]
        click.echo(json.dumps({"query": query, "results": results}, ensure_ascii=False))
    elif form == "picture":
        written = _draw(query, hits, out or PICTURE, workspace.images)
        stdout().print(f"written: {written}", markup=False, highlight=False)
    else:
        _show(stdout(), query, hits, captions)
    named = "" if run is None else f" --run {shlex.quote(run)}"
    following = f"next: `weaksup serve{named}` searches on a page"
    if index.folder is None:
        following = f"next: `weaksup index{named}` keeps the embeddings: the next search is quicker"
    stderr().print(in_workspace(following, workspace_folder), markup=False, highlight=False)


def _check(*, text: str | None, image: str | None, find: str, form: str, out: Path | None) -> None:
    if (text is None) == (image is None):
        raise UsageError(
            "a search is for a sentence or for a picture, one of the two",
            'for example `weaksup search "a dog in the snow"`, or `weaksup search --image FILE`',
        )
    if text is not None and not text:
        raise UsageError("the sentence to search for is empty", "write what the image shows")
    if form == "picture" and find == "captions":
        raise UsageError("captions make no picture", "leave --find out, or use --format table")
    if out is not None and form != "picture":
        raise UsageError(f"--out {out} is for --format picture", "add --format picture")
    if form == "picture":
        check_place(out or PICTURE, option="--out")
    if out is not None and out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--out {out}: a picture is .png, .jpg or .webp", "name such a file")


def _index(run: Run, *, captions: bool) -> Index:
    """The run's index, or one that is made for this search alone."""
    from trainer.index import build_index, has_index, open_index

    run.embedding_model()
    if has_index(run):
        return open_index(run)
    store = run_store(run, None, stderr(), option="--regions of `weaksup index`")
    stderr().print(
        f"note: the run {run.folder.name} has no index: embedding "
        f"{counted(len(store), 'image')} first",
        markup=False,
        highlight=False,
    )
    with progress(stderr()) as bar:
        task = bar.add_task("embedding", total=None, rate="")
        return build_index(
            run,
            store,
            kind="exact",
            captions=captions,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _warn_of_unknown_words(run: Run, text: str, notices: Console) -> None:
    from trainer.text import UNKNOWN, tokenize

    words = dict.fromkeys(tokenize(text))
    unknown = [word for word in words if run.vocabulary.encode(word) == [UNKNOWN]]
    if unknown:
        text = f"note: words that the run does not know: {', '.join(unknown)}"
        notices.print(text, markup=False, highlight=False)


def _image_embedding(
    image: str, run: Run, index: Index, workspace: Workspace, *, files: Sequence[Path]
) -> tuple[Float32, str | None]:
    """The embedding of a picture, and its id if it is in the index."""
    import numpy as np

    place = index.find(image)
    path = Path(image)
    if place is None and path.is_file():
        place = _place_of_file(path, index, workspace)
    if place is not None:
        return np.array(index.images.rows[place]), index.ids[place]
    if not path.is_file():
        raise UsageError(
            f"--image {image} is neither a file nor an image of the index",
            f"ids are paths relative to the image folder, such as {index.ids[0]}",
        )
    from pipelines.new_pictures import PictureReader
    from weaksup.store import open_store

    store = open_store(
        recorded_file(run.regions, run.folder.name, option="--regions of `weaksup index`")
    )
    return PictureReader(run, store, files=files).embed(path), None


def _place_of_file(path: Path, index: Index, workspace: Workspace) -> int | None:
    """Where the index has a file of the workspace's image folders."""
    for folder in workspace.images:
        if path.resolve().is_relative_to(folder.resolve()):
            name = path.resolve().relative_to(folder.resolve()).as_posix()
            for image in (name, f"{folder.resolve().name}/{name}"):
                place = index.find(image)
                found = locate_image(workspace.images, image)
                if place is not None and found is not None and found.samefile(path):
                    return place
    return None


def _require_captions(index: Index) -> None:
    if not index.known:
        raise DataError(
            "the index has no captions: the files that the run was trained on were not there",
            "put them back and run `weaksup index` again",
        )


def _show(out: Console, query: str, hits: Sequence[Hit], captions: Sequence[CaptionHit]) -> None:
    if hits:
        table = Table(title=Text(query, style="table.title"), title_justify="left")
        for name in ("", "score"):
            table.add_column(name, justify="right")
        table.add_column("image", overflow="fold")
        for place, hit in enumerate(hits, 1):
            table.add_row(str(place), decimals(hit.score, 3), Text(hit.image))
        out.print(table)
    if captions:
        title = Text("captions" if hits else query, style="table.title")
        table = Table(title=title, title_justify="left")
        for name in ("", "score"):
            table.add_column(name, justify="right")
        table.add_column("caption", overflow="fold")
        for place, found in enumerate(captions, 1):
            table.add_row(str(place), decimals(found.score, 3), Text(found.caption))
        out.print(table)


def _draw(query: str, hits: Sequence[Hit], path: Path, folders: Sequence[Path]) -> Path:
    from pipelines.contact_sheet import Cell, draw_contact_sheet

    cells = [Cell(locate_image(folders, hit.image), hit.image, hit.score) for hit in hits]
    missing = sum(cell.file is None for cell in cells)
    if missing:
        stderr().print(
            f"warning: {counted(missing, 'picture file was', 'picture files were')} not found in "
            "the workspace's image folders",
            markup=False,
            highlight=False,
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_contact_sheet(cells, title=query).save(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
    return path
