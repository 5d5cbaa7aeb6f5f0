"""``weaksup extract``: from folders of images to a region store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from weaksup.cli.options import (
    EXISTING,
    captions_option,
    in_workspace,
    progress,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.places import Place, check_place
from weaksup.cli.process import terminated_is_interrupted
from weaksup.concepts import WORDNET_NOTICE, refuse_another_stores
from weaksup.corpora import detect_format
from weaksup.detectors.build import (
    AUTO,
    DetectorOptions,
    ModelChoice,
    detector_names,
    resolve_auto,
)
from weaksup.errors import DataError, UsageError
from weaksup.files import write_atomically
from weaksup.wording import counted, first_few
from weaksup.workspace import Workspace, concepts_file

if TYPE_CHECKING:
    from weaksup.concepts import Vocabulary
    from weaksup.extract import ExtractionReport

T = TypeVar("T")

LISTED = 20  # unreadable images that are named; a file has them all
SHOWN_CONCEPTS = 12
NAMED_UNMATCHED = 5
MIN_REGIONS = 10
FEATURE_SIZE = 448


@click.command("extract")
@workspace_option
@click.option(
    "--images",
    "image_folders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Folder of images, subfolders included; may be repeated. Remembered.",
)
@captions_option
@click.option(
    "--detector",
    type=click.Choice([AUTO, *detector_names()]),
    default=AUTO,
    show_default=True,
    help="auto: detectron2 if it is installed, else torchvision.",
)
@click.option(
    "--weights",
    metavar="NAME_OR_FILE",
    help="The detector's model; for transformers also a folder.",
)
@click.option(
    "--labels",
    type=EXISTING,
    metavar="FILE",
    help="Names of the detector's classes, one a line.",
)
@click.option(
    "--attribute-labels",
    type=EXISTING,
    metavar="FILE",
    help="Names of the classes of detectron2's attribute head, one a line.",
)
@click.option(
    "--concepts",
    "concept_list",
    type=EXISTING,
    metavar="FILE",
    help="Your own concepts, one a line, aliases after a tab: other labels are left out. What "
    "Grounding DINO and OWL-ViT look for.",
)
@click.option(
    "--feature-model",
    metavar="NAME_OR_FILE",
    help="Pool region features from this network: an ONNX file or a torchvision backbone.  "
    "[default: the detector's own]",
)
@click.option(
    "--feature-labels",
    type=EXISTING,
    metavar="FILE",
    help="Names of the feature model's own classes, one class a line: every region gets its best "
    "five. For ONNX files.",
)
@click.option(
    "--feature-size",
    type=click.IntRange(32, 4096),
    help=f"Input side of the feature model, in pixels.  [default: {FEATURE_SIZE}]",
)
@click.option(
    "--max-regions",
    type=click.IntRange(1, 1000),
    default=36,
    show_default=True,
    help="Most regions an image; the whole image is one of them.",
)
@click.option(
    "--min-regions",
    type=click.IntRange(1, 1000),
    help=f"Fill up to so many regions with boxes below the threshold.  [default: {MIN_REGIONS}, "
    "or --max-regions if that is less]",
)
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Regions score at least this.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    help="Images that are detected and committed together.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Threads of each process; with --engine ray also its processors.  [default: one more than "
    "its share of the processors]",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    help="Processes that extract a shard at a time each, with a GPU each where there are several.  "
    "[default: 1; with --engine ray as many as there is room for]",
)
@click.option(
    "--device",
    type=click.Choice([AUTO, "cpu", "cuda"]),
    default=AUTO,
    show_default=True,
)
@click.option(
    "--precision",
    type=click.Choice([AUTO, "fp32", "fp16", "bf16"]),
    default=AUTO,
    show_default=True,
)
@click.option(
    "--shards",
    type=click.IntRange(1, 99999),
    help="Cut the store into so many files; --out then names a folder.  [default: 1]",
)
@click.option(
    "--shard",
    type=click.IntRange(0),
    help="Write this shard alone, counted from 0, as a task of a job array does. The same command "
    "without it makes them one store.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: on the Ray cluster of $RAY_ADDRESS, or without it on a Ray of this machine alone.",
)
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
@click.option(
    "--out",
    type=Place(folder=True),
    metavar="FILE",
    help="The store; the commands after this one then find it there.  [default: regions.h5 in the "
    "workspace]",
)
def command(
    workspace_folder: Path | None,
    image_folders: tuple[Path, ...],
    captions: Path | None,
    detector: str,
    weights: str | None,
    labels: Path | None,
    attribute_labels: Path | None,
    concept_list: Path | None,
    feature_model: str | None,
    feature_labels: Path | None,
    feature_size: int | None,
    max_regions: int,
    min_regions: int | None,
    score_threshold: float,
    batch_size: int,
    workers: int | None,
    processes: int | None,
    device: str,
    precision: str,
    shards: int | None,
    shard: int | None,
    engine: str,
    overwrite: bool,
    out: Path | None,
) -> None:
    """Detect regions and concepts in a folder of images.

    Writes the region store and, beside it, concepts.json: each store needs a folder of its own.
    Interrupted, it goes on from there when it is called again; a store that is finished already is
    left as it is.

    \b
    Examples:
      weaksup extract --images photos
      weaksup extract --images photos --captions captions.csv --device cuda
      weaksup extract --images photos --detector onnx --weights yolox.onnx
      weaksup extract --images photos --shards 16 --processes 4 --out store
      weaksup extract --images photos --shards 64 --engine ray --out store
    """
    if captions is not None:
        # What is no captions file must not be remembered, and is told before the detector works.
        detect_format(captions)
    if shard is not None and shards is None:
        raise UsageError(
            f"--shard {shard} is one of several files, and --shards does not say of how many",
            f"add --shards N, the same for every task and over {shard}, and --out DIR",
        )
    shards = shards or 1
    if shards > 1 and out is None:
        raise UsageError("--shards cuts the store into a folder of files", "name it with --out DIR")
    if shard is not None and (engine != "local" or processes is not None):
        raise UsageError(
            "--shard is for one process, without --engine and --processes",
            "leave --shard out, and all shards are written",
        )
    if feature_size is not None and feature_model is None:
        raise UsageError(
            f"--feature-size {feature_size} is of a feature model, and there is none",
            "name one with --feature-model, or leave --feature-size out",
        )
    if feature_labels is not None and feature_model is None:
        raise UsageError(
            "--feature-labels names the classes of a feature model, and there is none",
            "name an ONNX file with --feature-model",
        )
    options = DetectorOptions(
        weights=weights,
        score_threshold=score_threshold,
        min_regions=min(MIN_REGIONS, max_regions) if min_regions is None else min_regions,
        max_regions=max_regions,
        device=device,
        precision=precision,
    )
    workspace = Workspace.open(workspace_folder)
    folders = image_folders or workspace.images
    if not folders:
        raise UsageError(
            f"no image folder was named, and the workspace {workspace.folder} remembers none",
            "name one with --images DIR",
        )
    store = out or workspace.own_regions
    check_place(store, option="--out")
    concepts = concepts_file(store)
    if not overwrite:
        _check_detector(store, detector)
        _check_concepts(concepts, store)
    if concept_list is not None:
        options = replace(options, concepts=_things(concept_list))
    models = ModelChoice(
        detector,
        options,
        labels=labels,
        attribute_labels=attribute_labels,
        feature_model=feature_model,
        feature_size=feature_size or FEATURE_SIZE,
        feature_labels=feature_labels,
    )
    run = partial(
        _run,
        folders,
        models,
        remember=lambda: workspace.remember(images=folders, captions=captions),
        out=store,
        concepts=concepts,
        concept_list=concept_list,
        shards=shards,
        batch_size=batch_size,
        workers=workers,
        overwrite=overwrite,
    )
    with terminated_is_interrupted():
        if shard is not None:
            from weaksup.engines.array import extract_one

            part, _ = run(extract_one, shard=shard)
            for line in (
                f"written: {part.path}, {len(part.images):,} images",
                "next: the same command without --shard, when all shards are written",
            ):
                stdout().print(line, highlight=False, markup=False)
            return
        from weaksup.engines.run import run_extraction

        report, seconds = run(run_extraction, engine=engine, processes=processes, notify=_note)
    # The workspace as it is now: _run has let it remember the images.
    workspace = Workspace.open(workspace_folder).remember(
        regions=store,
        models=[*models.files, *([] if concept_list is None else [concept_list])],
    )
    unreadable = _unreadable_lines(report.unreadable, workspace.unreadable)
    if len(report.unreadable) == report.images:
        # A store of no picture is good for nothing; what is there is most likely no pictures.
        raise DataError(
            "\n".join([f"none of {counted(report.images, 'image')} could be read:", *unreadable]),
            "mend them, or name another folder with --images, and run with --overwrite",
        )
    if not report.wordnet:
        stderr().print(WORDNET_NOTICE, markup=False, highlight=False)
    _show(report, seconds, stdout())
    written = f"written: {report.store} and {report.concepts}"
    if report.store.parent == Path():  # bare names do not say where they are
        written += f" in {Path.cwd()}"
    following = in_workspace("next: weaksup subsample --ratio 0.2", workspace_folder)
    if unreadable:
        unreadable.insert(0, f"unreadable images: {len(report.unreadable):,}")
    for line in (*unreadable, written, following):
        stdout().print(line, highlight=False, markup=False)


def _check_detector(path: Path, name: str) -> None:
    """Refuse another kind of detector than a finished store's, before it asks for its weights.

    Whatever else is in the way is told when the store is opened for writing.

    Raises:
        UsageError: if the store's regions are of another kind.
    """
    from weaksup.store import IMPORTED, open_store

    if not path.exists():
        return
    try:
        held = open_store(path).provenance.detector
    except DataError:
        return
    kind, held_kind = resolve_auto() if name == AUTO else name, held.partition(":")[0]
    # A detector of one's own may call itself as it likes.
    if held_kind != kind and held_kind in (*detector_names(), IMPORTED):
        raise UsageError(
            f"{path} holds regions of the detector {held}, not of {kind}",
            "name another file with --out, or replace it with --overwrite",
        )


def _check_concepts(path: Path, store: Path) -> None:
    """Refuse a new store another one's concept file, before the detector asks for its weights.

    Raises:
        UsageError: if the file holds the words of another store.
    """
    from weaksup.store import is_begun

    if not is_begun(store):
        refuse_another_stores(path, store)


def _things(concept_list: Path) -> tuple[str, ...]:
    """What a list of concepts names beside attributes, which are found without looking for them.

    A word that is both, as orange is, stays.
    """
    from weaksup.attributes import ATTRIBUTES
    from weaksup.concepts.vocabulary import listed_names
    from weaksup.detectors.labels import COCO

    attributes = set(ATTRIBUTES) - set(COCO)
    return tuple(name for name in listed_names(concept_list) if name not in attributes)


def _run(
    folders: tuple[Path, ...],
    models: ModelChoice,
    extract: Callable[..., T],
    *,
    remember: Callable[[], object],
    **arguments: Any,
) -> tuple[T, float]:
    """Call ``extract`` with a progress bar; its result, and the seconds that it worked."""
    from weaksup.images import list_images

    images = list_images(folders)
    began = time.monotonic()
    with progress(stderr()) as bar:
        task = bar.add_task("extracting", total=len(images), rate="")

        # Not before the store is open: neither a mistyped model nor a store that is in the way may
        # change what the workspace remembers.
        def opened(vocabulary: Vocabulary) -> None:
            nonlocal began
            began = time.monotonic()
            remember()
            _warn_of_unmatched(vocabulary)

        def advance(done: int, total: int, fresh: int) -> None:
            rate = fresh / max(time.monotonic() - began, 1e-9)
            bar.update(task, completed=done, total=total, rate=f"{rate:.1f} images/s")

        result = extract(images, models, opened=opened, progress=advance, **arguments)
    return result, time.monotonic() - began


def _note(text: str) -> None:
    stderr().print(f"note: {text}", markup=False, highlight=False)


def _warn_of_unmatched(vocabulary: Vocabulary) -> None:
    """Name what a concept list asks for in vain, before hours of work."""
    unmatched = vocabulary.unmatched
    if not unmatched:
        return
    named = first_few(unmatched, most=NAMED_UNMATCHED)
    lines = [
        f"warning: {len(unmatched):,} of {counted(len(vocabulary.concepts), 'concept')} of the "
        f"list: no label of the detector, only captions can name them: {named}"
    ]
    if not (vocabulary.object_rows >= 0).any():
        lines.append(
            "warning: no object label of the detector is in the list: no region will have a name. "
            "Without --concepts, `weaksup concepts` shows afterwards what the detector can say"
        )
    for line in lines:
        stderr().print(line, markup=False, highlight=False)


def _show(report: ExtractionReport, seconds: float, console: Console) -> None:
    fresh = report.images - report.done_before
    rate = f" ({fresh / seconds:.1f} images/s)" if fresh and seconds > 0 else ""
    before = f", {report.done_before:,} of them done before" if report.done_before else ""
    readable = report.images - len(report.unreadable)
    console.print(f"images: {report.images:,}{before}{rate}", highlight=False)
    console.print(
        f"regions: {report.regions:,}, {report.regions / max(readable, 1):.1f} an image",
        highlight=False,
    )
    if report.without_regions:
        console.print(f"images without a box: {report.without_regions:,}", highlight=False)
    for kind in ("object", "attribute"):
        words = [f"{name} {count:,}" for k, name, count in report.counts if k == kind]
        if words or kind == "object":
            text = f"{kind}s: {', '.join(words[:SHOWN_CONCEPTS]) or 'none was named'}"
            console.print(text, highlight=False, markup=False)
    if report.classes:
        words = [f"{name} {count:,}" for name, count in report.classes[:SHOWN_CONCEPTS]]
        console.print(f"classes: {', '.join(words)}", highlight=False, markup=False)
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, markup=False)


def _unreadable_lines(images: Sequence[tuple[str, str]], file: Path) -> list[str]:
    """The first images with their reasons; all of them are written to ``file``."""
    if not images:
        file.unlink(missing_ok=True)  # of an earlier extraction
        return []
    write_atomically(file, "".join(f"{name}\t{reason}\n" for name, reason in images))
    lines = [f"  {name}: {reason}" for name, reason in images[:LISTED]]
    if len(images) > LISTED:
        lines.append(f"  and {len(images) - LISTED:,} more: {file} has all of them")
    return lines
