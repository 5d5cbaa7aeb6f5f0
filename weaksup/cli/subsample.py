"""``weaksup subsample``: which images keep their gold captions, and what that covers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from weaksup.cli.options import (
    captions_option,
    in_workspace,
    resolve_captions,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import Place, check_place
from weaksup.concepts import WORDNET_NOTICE, read_concepts
from weaksup.corpora import assign_splits, match_ids, read_corpus, write_annotations
from weaksup.corpora.annotations import UNITS
from weaksup.errors import UsageError
from weaksup.store import RegionStore, open_store, pool_features, readable_ids
from weaksup.subsample import STRATEGIES, ImageConcepts, measure_coverage, subsample
from weaksup.types import SPLITS, TRAIN, Annotations, Corpus
from weaksup.wording import counted
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from weaksup.concepts import CaptionWords

# How many concepts that nothing covers are named.
NAMED = 8


def _ratio(value: str | float) -> float:
    """The type of ``--ratio``: a share over 0 and up to 1."""
    example = "for example --ratio 0.2"
    try:
        ratio = float(value)
    except ValueError:
        raise UsageError(f"--ratio {value} is no number", example) from None
    if not 0 < ratio <= 1:
        raise UsageError(f"--ratio {ratio} is not over 0 and up to 1", example)
    return ratio


@click.command("subsample")
@workspace_option
@click.option(
    "--ratio",
    type=_ratio,
    metavar="FLOAT",
    default=0.2,
    show_default=True,
    help="Share of the training images or captions that is kept, over 0 and up to 1.",
)
@captions_option
@click.option(
    "--unit",
    type=click.Choice(UNITS),
    default="image",
    show_default=True,
    help="Keep images with all their captions, or single captions.",
)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES.names()),
    default="random",
    show_default=True,
    help="random; diverse: images that stand for how all look; coverage: images whose concepts "
    "cover most of the rest.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice.")
@click.option(
    "--out",
    type=Place(),
    metavar="FILE",
    help="Where to write the annotations.  [default: annotations.json in the workspace]",
)
def command(
    workspace_folder: Path | None,
    ratio: float,
    captions: Path | None,
    unit: str,
    strategy: str,
    seed: int,
    out: Path | None,
) -> None:
    """Choose which images keep their gold captions.

    Only the train split is chosen from. For one seed, a smaller ratio's set lies inside a larger
    one's. With --out elsewhere, concepts.json of the workspace stays as it is.

    \b
    Examples:
      weaksup subsample --ratio 0.2
      weaksup subsample --ratio 0.2 --strategy diverse
      weaksup subsample --ratio 1 --captions mine.csv
    """
    workspace = Workspace.open(workspace_folder)
    path = out or workspace.annotations
    check_place(path, option="--out")
    own = path.resolve() == workspace.annotations.resolve()
    counted_in = workspace.concepts if own and workspace.concepts.exists() else None
    if counted_in is not None:
        read_concepts(counted_in)  # a damaged one is told before anything is written
    console = stdout()
    corpus = assign_splits(read_corpus(resolve_captions(workspace, captions, stderr())))
    store = open_store(workspace.regions) if workspace.regions.exists() else None
    readable: Sequence[str] = ()
    concepts = features = None
    if store is not None:
        readable = readable_ids(store)
        corpus = match_ids(corpus, readable)
        concepts = ImageConcepts.of_store(store, min_score=store.score_threshold)
        features = partial(pool_features, store)
    annotations = subsample(
        corpus,
        ratio=ratio,
        unit=unit,
        strategy=strategy,
        seed=seed,
        store_ids=readable,
        concepts=concepts,
        features=features,
    )
    # Only now: captions of other images must not stand in the way of the next bare call.
    if captions is not None:
        workspace = workspace.remember(captions=captions)
    write_annotations(path, annotations)
    console.print(_table(corpus, annotations))
    lines = [*corpus.notes, *_store_lines(workspace, store)]
    if concepts is not None:
        lines += _coverage_lines(annotations, concepts)
    if counted_in is not None:
        words = _count_words(counted_in, corpus, annotations)
        lines.append(_words_line(words, counted_in))
        if not words.wordnet:
            stderr().print(WORDNET_NOTICE, markup=False, highlight=False)
    following = in_workspace(_next(None if own else path, store), workspace_folder)
    lines += [f"wrote {path}", following]
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _table(corpus: Corpus, annotations: Annotations) -> Table:
    table = Table("split", title=f"{annotations.strategy}, by {annotations.unit}")
    for name in ("images", "captions", "images annotated", "captions kept"):
        table.add_column(name, justify="right")
    kept = sum(map(len, annotations.captions_kept.values()))
    for split in SPLITS:
        images = corpus.split(split)
        captions = sum(len(image.captions) for image in images)
        row = [split, f"{len(images)}", f"{captions}", "", ""]
        if split == TRAIN:
            annotated = len(annotations.annotated)
            row[3] = f"{annotated} ({annotated / len(images):.1%})"
            row[4] = f"{kept} ({kept / captions:.1%})"
        table.add_row(*row)
    captioned = {image.id for image in corpus.images}
    uncaptioned = sum(name not in captioned for name in annotations.unannotated)
    if uncaptioned:
        table.add_row("train, no captions", f"{uncaptioned}", "0", "", "")
    return table


def _store_lines(workspace: Workspace, store: RegionStore | None) -> list[str]:
    if store is not None:
        unreadable = len(store.problems)
        return [f"{counted(unreadable, 'unreadable image')} left out"] if unreadable else []
    return [
        f"there is no region store at {workspace.regions} yet: images that no caption names are "
        "not known, and will not be trained on unless subsample is run again after extract"
    ]


def _coverage_lines(annotations: Annotations, concepts: ImageConcepts) -> list[str]:
    coverage = measure_coverage(annotations, concepts)
    if not coverage.concepts:
        return ["the region store names no concepts"]
    share = coverage.covered / coverage.concepts
    lines = [
        f"concepts: annotated images show {coverage.covered} of the {coverage.concepts} that "
        f"training images show ({share:.1%})"
    ]
    if coverage.occurrences:
        share = coverage.occurrences_covered / coverage.occurrences
        lines[0] += f", and {share:.1%} of what the un-annotated ones show"
    if coverage.missing:
        named = ", ".join(f"{name} ({images})" for name, images in coverage.missing[:NAMED])
        more = ", ..." if len(coverage.missing) > NAMED else ""
        lines.append(f"in no annotated image (un-annotated images that show it): {named}{more}")
    return lines


def _count_words(path: Path, corpus: Corpus, annotations: Annotations) -> CaptionWords:
    """Let the kept captions, and only these, add to ``concepts.json``."""
    # spaCy takes a second to load: not before the annotations are written.
    from weaksup.concepts import add_caption_counts

    by_id = {image.id: image.captions for image in corpus.split(TRAIN)}
    kept = [
        by_id[name][index]
        for name, indices in annotations.captions_kept.items()
        for index in indices
    ]
    return add_caption_counts(path, kept)


def _words_line(words: CaptionWords, path: Path) -> str:
    return (
        f"words: a concept of the detector in {words.matched:,} of "
        f"{counted(words.captions, 'kept caption')}; "
        f"{counted(len(words.added), 'word')} that it does not know and "
        f"{counted(len(words.aliases), 'alias', 'aliases')} added to {path}"
    )


def _next(elsewhere: Path | None, store: RegionStore | None) -> str:
    if store is None:
        return "next: weaksup extract --images DIR"
    return "next: weaksup train" + (f" --annotations {elsewhere}" if elsewhere else "")
