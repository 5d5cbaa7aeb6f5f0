"""``weaksup extract``: from folders of images to a region store."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from weaksup.cli.options import (
    ANY_PATH,
    EXISTING,
    captions_option,
    progress,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.detectors.build import AUTO, DetectorOptions, detector_names
from weaksup.errors import UsageError
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from weaksup.extract import ExtractionReport

LISTED = 20  # unreadable images that are named; the store knows them all
SHOWN_CONCEPTS = 12


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
@click.option("--weights", metavar="NAME_OR_FILE", help="The detector's model.")
@click.option(
    "--labels",
    type=EXISTING,
    metavar="FILE",
    help="Names of the detector's classes, one a line.",
)
@click.option(
    "--concepts",
    "concept_list",
    type=EXISTING,
    metavar="FILE",
    help="Your own concepts, one a line, aliases after a tab: other labels are left out.",
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
    default=448,
    show_default=True,
    help="Input side of the feature model, in pixels.",
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
    default=10,
    show_default=True,
    help="Fill up to so many regions with boxes below the threshold.",
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
    help="Threads.  [default: one more than processors]",
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
    default=1,
    show_default=True,
    help="Cut the store into so many files; --out then names a folder.",
)
@click.option(
    "--engine",
    type=click.Choice(["local"]),
    default="local",
    show_default=True,
    help="Where to run.",
)
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
@click.option(
    "--out",
    type=ANY_PATH,
    metavar="FILE",
    help="The store.  [default: regions.h5 in the workspace]",
)
def command(
    workspace_folder: Path | None,
    image_folders: tuple[Path, ...],
    captions: Path | None,
    detector: str,
    weights: str | None,
    labels: Path | None,
    concept_list: Path | None,
    feature_model: str | None,
    feature_labels: Path | None,
    feature_size: int,
    max_regions: int,
    min_regions: int,
    score_threshold: float,
    batch_size: int,
    workers: int | None,
    device: str,
    precision: str,
    shards: int,
    engine: str,
    overwrite: bool,
    out: Path | None,
) -> None:
    """Detect regions and concepts in a folder of images.

    Writes the region store and, beside it, concepts.json. Interrupted, it goes on from there when
    it is called again; a store that is finished already is left as it is.
    """
    if shards > 1 and out is None:
        raise UsageError("--shards cuts the store into a folder of files", "name it with --out DIR")
    if feature_labels is not None and feature_model is None:
        raise UsageError(
            "--feature-labels names the classes of a feature model, and there is none",
            "name an ONNX file with --feature-model",
        )
    options = DetectorOptions(
        weights=weights,
        with_features=feature_model is None,
        score_threshold=score_threshold,
        min_regions=min_regions,
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
    with _terminated_is_interrupted():
        report, seconds = _run(
            folders,
            remember=lambda: workspace.remember(images=folders, captions=captions),
            build=lambda: _build(
                detector, options, labels, feature_model, feature_labels, feature_size
            ),
            out=out or workspace.regions,
            concepts=(out or workspace.regions).with_name("concepts.json"),
            concept_list=concept_list,
            shards=shards,
            batch_size=batch_size,
            workers=workers,
            overwrite=overwrite,
        )
    _show(report, seconds, stdout())


def _build(
    detector: str,
    options: DetectorOptions,
    labels: Path | None,
    feature_model: str | None,
    feature_labels: Path | None,
    feature_size: int,
) -> dict[str, Any]:
    from weaksup.detectors.build import build_detector, build_feature_model

    built = build_detector(detector, options, labels_file=labels)
    network = None
    if feature_model is not None:
        network = build_feature_model(
            feature_model,
            size=feature_size,
            device=options.device,
            precision=options.precision,
            labels_file=feature_labels,
        )
    return {"detector": built, "feature_model": network}


def _run(
    folders: tuple[Path, ...],
    *,
    remember: Callable[[], object],
    build: Callable[[], dict[str, Any]],
    **arguments: Any,
) -> tuple[ExtractionReport, float]:
    from weaksup.extract import extract
    from weaksup.images import list_images

    images = list_images(folders)
    parts = build()
    # Only now: a mistyped model must not change what the workspace remembers.
    remember()
    began = time.monotonic()
    with progress(stderr()) as bar:
        task = bar.add_task("extracting", total=len(images), rate="")
        first: list[int] = []

        def advance(done: int, total: int) -> None:
            first.append(done) if not first else None
            rate = (done - first[0]) / max(time.monotonic() - began, 1e-9)
            bar.update(task, completed=done, rate=f"{rate:.1f} images/s")

        report = extract(images, progress=advance, **parts, **arguments)
    return report, time.monotonic() - began


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C: what is committed is kept, and the exit code is 130."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        if words:
            console.print(f"{kind}s: {', '.join(words[:SHOWN_CONCEPTS])}", highlight=False)
    if report.classes:
        words = [f"{name} {count:,}" for name, count in report.classes[:SHOWN_CONCEPTS]]
        console.print(f"classes: {', '.join(words)}", highlight=False, markup=False)
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    if report.unreadable:
        console.print(f"unreadable images: {len(report.unreadable):,}", highlight=False)
        for name, reason in report.unreadable[:LISTED]:
            console.print(f"  {name}: {reason}", highlight=False, markup=False)
        if len(report.unreadable) > LISTED:
            rest = len(report.unreadable) - LISTED
            console.print(f"  and {rest:,} more", highlight=False)
    console.print(f"written: {report.store} and {report.concepts}", highlight=False, markup=False)
    console.print("next: weaksup subsample --ratio 0.2", highlight=False)
