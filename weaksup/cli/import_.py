"""``weaksup import``: a region store of features that others have extracted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weaksup.cli.options import (
    EXISTING,
    in_workspace,
    progress,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import Place, check_place
from weaksup.cli.process import terminated_is_interrupted
from weaksup.files import write_atomically
from weaksup.wording import counted
from weaksup.workspace import Workspace, concepts_file

if TYPE_CHECKING:
    from weaksup.store.convert.importing import ImportReport

LISTED = 20  # missing images that are named; a file has them all
MISSING = "missing-images.txt"


@click.command("import")
@click.argument("source", type=EXISTING)
@click.option(
    "--out",
    type=Place(folder=True),
    metavar="FILE",
    help="The store; the commands after this one then find it there.  [default: regions.h5 in the "
    "workspace]",
)
@click.option(
    "--images",
    "image_folders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Folder of the images, to give the features their names; may be repeated. Remembered.",
)
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
@workspace_option
@terminated_is_interrupted()
def command(
    source: Path,
    out: Path | None,
    image_folders: tuple[Path, ...],
    overwrite: bool,
    workspace_folder: Path | None,
) -> None:
    """Make a region store of features that others have extracted.

    SOURCE is a precomp folder (VSE++, SCAN, VSE-infinity), a folder of npz files
    (bottom-up-attention.pytorch) or tsv files (bottom-up attention, LXMERT), recognised by its
    content. Captions of a precomp folder go to a captions file beside the store. Interrupted, the
    same command goes on from there.

    \b
    Examples:
      weaksup import f30k_precomp
      weaksup import features_npz --images photos --out butd.h5
    """
    from weaksup.concepts import (
        build_vocabulary,
        holds_concepts_of,
        place_for_words,
        refuse_another_stores,
        write_concepts_of,
    )
    from weaksup.images import list_images
    from weaksup.store import is_begun
    from weaksup.store.convert.importing import import_regions, recognise

    workspace = Workspace.open(workspace_folder)
    store = out or workspace.own_regions
    check_place(store, option="--out")
    recognise(source)  # before what is in the way of something that is no features at all
    concepts = concepts_file(store)
    if not (overwrite or is_begun(store)):
        refuse_another_stores(concepts, store)
    images = [name for name, _ in list_images(image_folders)] if image_folders else None
    notices = stderr()
    with progress(notices) as bar:
        task = bar.add_task("importing", total=None, rate="")
        report = import_regions(
            source,
            store,
            images=images,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    notes = list(report.notes)
    if not overwrite:
        # Another store may have been finished in this folder meanwhile.
        concepts, note = place_for_words(concepts, store)
        notes += [note] if note else []
    if overwrite or not holds_concepts_of(concepts, store):  # else with what `subsample` added
        # Without words: `subsample` adds those of the kept captions.
        write_concepts_of(concepts, build_vocabulary((), ()), store=store)
    workspace.remember(images=image_folders or None, captions=report.captions, regions=report.store)
    for note in notes:
        notices.print(f"note: {note}", markup=False)
    console = stdout()
    written = [str(report.store), *([str(report.captions)] if report.captions else [])]
    for line in (
        f"{counted(report.images, 'image')}, features of width {report.feature_size}, from "
        f"{report.format}",
        *_missing_lines(report, store.with_name(MISSING)),
        f"written: {' and '.join(written)}",
        in_workspace("next: weaksup subsample --ratio 0.2", workspace_folder),
    ):
        console.print(line, markup=False, highlight=False)


def _missing_lines(report: ImportReport, path: Path) -> list[str]:
    lines = []
    if report.unused:
        lines.append(f"{counted(report.unused, 'image')} without features, not in the store")
    if not report.missing:
        path.unlink(missing_ok=True)
        return lines
    write_atomically(path, "".join(f"{name}\n" for name in report.missing))
    lines.append(
        f"{counted(len(report.missing), 'image')} with features and no file in the folders:"
    )
    lines += [f"  {name}" for name in report.missing[:LISTED]]
    if len(report.missing) > LISTED:
        lines.append(f"  ... all of them in {path}")
    return lines
