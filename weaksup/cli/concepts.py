"""``weaksup concepts``: the vocabulary as a table, and as a file."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from weaksup.cli.options import in_workspace, stderr, stdout, workspace_option
from weaksup.cli.places import Place
from weaksup.cli.show_store import why_unusable
from weaksup.concepts import (
    KINDS,
    WORDNET_NOTICE,
    Concept,
    Vocabulary,
    read_concepts,
    write_concepts,
)
from weaksup.concepts.model import FROM_CAPTIONS
from weaksup.errors import UsageError
from weaksup.files import write_atomically
from weaksup.store import open_store
from weaksup.wording import counted
from weaksup.workspace import Workspace

SUFFIXES = (".json", ".csv", ".tsv")


@click.command("concepts")
@workspace_option
@click.option("--top", type=click.IntRange(min=1), default=50, show_default=True, metavar="N")
@click.option("--kind", type=click.Choice(["all", *KINDS]), default="all", show_default=True)
@click.option(
    "--sort",
    "order",
    type=click.Choice(["regions", "captions", "name"]),
    default="regions",
    show_default=True,
    help="The most frequent first; ties by the other count, then by name.",
)
@click.option(
    "--out",
    type=Place(),
    metavar="FILE",
    help="Also save all concepts of the kind: .json, .csv, or .tsv, a list that "
    "`extract --concepts` reads (without what captions brought).",
)
def command(
    workspace_folder: Path | None, top: int, kind: str, order: str, out: Path | None
) -> None:
    """Show the concept vocabulary: concept, kind, count in captions, count in regions.

    `extract` makes it from what the detector can say; `subsample` adds what the kept training
    captions say, and their counts. Regions below the score threshold do not count.

    \b
    Examples:
      weaksup concepts
      weaksup concepts --top 100 --out concepts.csv
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise UsageError(
            f"--out {out}: unknown suffix '{out.suffix}'", f"known: {', '.join(SUFFIXES)}"
        )
    workspace = Workspace.open(workspace_folder)
    vocabulary = read_concepts(workspace.require(workspace.concepts, command="extract"))
    chosen = [c for c in vocabulary.concepts if kind in ("all", c.kind)]
    chosen.sort(key=lambda concept: _rank(concept, order))
    if vocabulary.sources.get("wordnet") is None:
        stderr().print(WORDNET_NOTICE, markup=False, highlight=False)
    stdout().print(_table(chosen[:top]))
    with_captions = any(concept.captions is not None for concept in chosen)
    shown = f"{min(top, len(chosen)):,} of {counted(len(chosen), 'concept')}"
    if not with_captions:
        shown += in_workspace("; captions are counted by `weaksup subsample`", workspace_folder)
    stdout().print(shown, markup=False, highlight=False)
    if out is not None:
        _save(out, chosen, vocabulary)
        stdout().print(f"saved to {out}", markup=False, highlight=False)
    unusable = None
    # The store of a large collection takes a while to open: a region that counts says enough.
    if workspace.regions.exists() and not any(concept.regions for concept in vocabulary.concepts):
        unusable = why_unusable(open_store(workspace.regions))
    if unusable is not None:
        stderr().print(f"warning: {unusable.message}", markup=False, highlight=False)
        following = f"next: {unusable.hint}"
    else:
        following = _next(out, annotated=with_captions)
    stderr().print(in_workspace(following, workspace_folder), markup=False, highlight=False)


def _next(out: Path | None, *, annotated: bool) -> str:
    if out is not None and out.suffix == ".tsv":
        lists = shlex.join(("--concepts", str(out), "--overwrite"))
        return f"next: edit {out}; `weaksup extract {lists}` then looks for no others"
    return f"next: `weaksup {'train' if annotated else 'subsample --ratio 0.2'}`"


def _rank(concept: Concept, order: str) -> tuple[int, int, str]:
    captions, regions = concept.captions or 0, concept.regions
    counts = {"regions": (-regions, -captions), "captions": (-captions, -regions), "name": (0, 0)}
    return (*counts[order], concept.name)


def _table(concepts: Sequence[Concept]) -> Table:
    table = Table("concept", "kind", "also")
    table.add_column("captions", justify="right")
    table.add_column("regions", justify="right")
    for concept in concepts:
        also = ", ".join(concept.names[1:])
        captions = "-" if concept.captions is None else str(concept.captions)
        # Names are the user's: they may hold brackets, which rich would read as markup.
        row = (concept.name, concept.kind, also, captions, str(concept.regions))
        table.add_row(*map(Text, row))
    return table


def _save(path: Path, concepts: Sequence[Concept], vocabulary: Vocabulary) -> None:
    if path.suffix == ".json":
        write_concepts(path, Vocabulary(tuple(concepts), vocabulary.sources))
    elif path.suffix == ".tsv":
        # What captions brought stays out: through an extraction it would outlive its subsample.
        # A word that is both object and attribute is one line: the list has no kinds.
        lines: dict[str, dict[str, None]] = {}
        for concept in concepts:
            if concept.origin != FROM_CAPTIONS:
                lines.setdefault(concept.name, {}).update(dict.fromkeys(concept.aliases))
        write_atomically(
            path, "".join("\t".join((name, *also)) + "\n" for name, also in lines.items())
        )
    else:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["concept", "kind", "captions", "regions", "aliases"])
        for c in concepts:
            captions = "" if c.captions is None else c.captions
            writer.writerow([c.name, c.kind, captions, c.regions, "|".join(c.names[1:])])
        write_atomically(path, text.getvalue())
