"""The whole job on generated pictures, offline: scenes, then the four commands, then a table.

Read top to bottom: ``run_demo`` is the recipe, ``COMPARISON`` is what it compares. Each command is
printed and called as a user would call it; one whose results are there already is left out, so
that the recipe goes on where it was interrupted.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.examples import choose_examples
from pipelines.picture import draw_examples
from pipelines.scenes import write_scenes
from trainer.checkpoint import STATE, WEIGHTS
from weaksup.cli import weaksup
from weaksup.corpora import read_annotations
from weaksup.errors import UsageError
from weaksup.wording import counted
from weaksup.workspace import Workspace

SEED = 0
CONFIG = Path(__file__).parent / "configs" / "demo.toml"
SETTINGS = "demo.json"
PICTURE = "demo.png"
EXAMPLES, TOP = 5, 4
RECALLS = ("R@1", "R@5", "R@10")


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes:
        run: name of the run.
        label: as the table shows it.
        everything: whether all training captions are kept, and not a fifth of them.
        options: of ``weaksup train``.
    """

    run: str
    label: str
    everything: bool
    options: tuple[str, ...]


GOLD_ALONE = ("unannotated=false", "loss.w_weak=0", "fusion.concepts=0", "fusion.objects=0")
COMPARISON = (
    Entry("a3vse-20", "a3vse", False, ("--model", "a3vse")),
    Entry(
        "a3vse-20-supervised",
        "a3vse, supervised only",
        False,
        ("--model", "a3vse", *(word for item in GOLD_ALONE for word in ("--set", item))),
    ),
    Entry("cca-20", "cca", False, ("--model", "cca")),
    Entry("cca-100", "cca", True, ("--model", "cca")),
)


@dataclass(frozen=True)
class Command:
    """A call of ``weaksup``.

    Attributes:
        words: what is typed after ``weaksup``.
        results: files that are there once it is done.
        leftover: a file that is there while it is not.
    """

    words: tuple[str, ...]
    results: tuple[Path, ...]
    leftover: Path | None = None

    @property
    def done(self) -> bool:
        started = self.leftover is not None and self.leftover.exists()
        return not started and all(path.exists() for path in self.results)


def run_demo(folder: Path, *, scenes: int, epochs: int | None, console: Console) -> Path:
    """Generate, extract, subsample, train, evaluate; print a table and draw a picture.

    Args:
        folder: a workspace of its own; made if need be.
        scenes: pictures in all; 70 % are for training, 15 % for validation, 15 % for the test.
        epochs: of the trained networks; None for those of ``configs/demo.toml``.
        console: what is printed goes here, beside what the commands print.

    Returns:
        The picture file.

    Raises:
        UsageError: if the folder holds something else, or a demo with other settings.
    """
    claim(folder, {"scenes": scenes, "epochs": epochs})
    make_scenes(folder, count=scenes, console=console)
    for command in commands(folder, epochs=epochs):
        call(command, console)
    workspace = Workspace.open(folder)
    console.print()
    console.print(make_table(workspace))
    examples = choose_examples(
        workspace.runs / COMPARISON[0].run, images=folder / "scenes/images", count=EXAMPLES, top=TOP
    )
    picture = folder / PICTURE
    draw_examples(
        examples,
        title="weaksup: sentences that find pictures",
        subtitle=f"{COMPARISON[0].label}, with captions for a fifth of its training pictures; "
        f"{len(examples)} evenly spaced test pictures and the longest sentence about each",
    ).save(picture)
    console.print(f"scenes, what was detected and what was found: {picture}", markup=False)
    place = shlex.join(("--workspace", str(folder), "--run", COMPARISON[0].run))
    for command_line in (*_activation(), f"weaksup index {place}", f"weaksup serve {place}"):
        console.print(f"next: {command_line}", markup=False, highlight=False, soft_wrap=True)
    return picture


def _activation() -> tuple[str, ...]:
    """What makes the shell find ``weaksup``, if it does not: `make demo` runs it where it lies."""
    script = Path(sys.prefix) / "bin" / "activate"
    if shutil.which("weaksup") is not None or not script.exists():
        return ()
    return (f"source {shlex.quote(str(script))}",)


def claim(folder: Path, settings: dict[str, int | None]) -> None:
    """Make the folder, or check that it holds this very demo: results must not be mixed."""
    memory = folder / SETTINGS
    if memory.exists():
        before = json.loads(memory.read_text(encoding="utf-8"))
        if before != settings:
            shown = ", ".join(f"{k} {v}" for k, v in before.items() if v is not None)
            raise UsageError(
                f"{folder} holds a demo with other settings: {shown}",
                "name another folder with --workspace, or delete that one",
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already and holds no demo", "name another folder with --workspace"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # With its settings a workspace is complete: an upgrade of weaksup does not change them.
    shutil.copyfile(CONFIG, folder / CONFIG.name)
    memory.write_text(json.dumps(settings) + "\n", encoding="utf-8")


def make_scenes(folder: Path, *, count: int, console: Console) -> None:
    """Write pictures and captions to ``scenes``, whole or not at all."""
    scenes = folder / "scenes"
    if scenes.exists():
        console.print(f"{count:,} scenes in {scenes}: done before", highlight=False)
        return
    console.print(
        f"generating {counted(count, 'scene')} with captions into {scenes}", highlight=False
    )
    began = time.monotonic()
    unfinished = folder / "scenes.partial"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    write_scenes(unfinished, count=count, seed=SEED)
    unfinished.rename(scenes)
    console.print(f"took {time.monotonic() - began:.0f} s", highlight=False)


def commands(folder: Path, *, epochs: int | None) -> Iterator[Command]:
    """What a user would type, in order."""
    workspace = Workspace(folder)
    place = ("--workspace", str(folder))
    yield Command(
        ("extract", "--images", str(folder / "scenes/images"), "--detector", "demo", *place),
        (workspace.regions, workspace.concepts),
    )
    everything = folder / "annotations-100.json"
    yield Command(("subsample", "--ratio", "0.2", *place), (workspace.annotations,))
    yield Command(("subsample", "--ratio", "1.0", "--out", str(everything), *place), (everything,))
    for entry in COMPARISON:
        run = workspace.runs / entry.run
        settings = ["--config", str(folder / CONFIG.name)]
        if epochs is not None:
            settings += ["--epochs", str(epochs)]
        annotations = ("--annotations", str(everything)) if entry.everything else ()
        yield Command(
            ("train", *entry.options, *settings, *annotations, "--name", entry.run, *place),
            (run / WEIGHTS,),
            leftover=run / STATE,
        )
        yield Command(("evaluate", "--run", entry.run, *place), (run / "evaluation-test.json",))


def call(command: Command, console: Console) -> None:
    """Run a command in this process as its command line would, unless it is done."""
    line = shlex.join(("weaksup", *command.words))
    if command.done:
        console.print(Text.assemble((f"$ {line}", "bold"), " (done before)"))
        return
    console.print(Text(f"\n$ {line}", style="bold"))
    began = time.monotonic()
    weaksup.main(args=list(command.words), prog_name="weaksup", standalone_mode=False)
    console.print(f"took {time.monotonic() - began:.0f} s", highlight=False)


def make_table(workspace: Workspace) -> Table:
    """What the evaluations found, a line each."""
    reports = [_report(workspace, entry) for entry in COMPARISON]
    table = Table(
        "model",
        title=f"Recall in percent on {reports[0]['images']:,} test pictures with "
        f"{reports[0]['captions']:,} sentences",
        caption="supervised only: the same network without un-annotated pictures and without what "
        "the detector names",
    )
    for name in ("captions", "i2t R@1/5/10", "t2i R@1/5/10", "rsum"):
        table.add_column(name, justify="right")
    for entry, report in zip(COMPARISON, reports, strict=True):
        kept = read_annotations(
            workspace.folder / "annotations-100.json" if entry.everything else workspace.annotations
        )
        table.add_row(
            entry.label,
            f"{kept.ratio:.0%}",
            *(
                "/".join(f"{report[way][at]:.1f}" for at in RECALLS)
                for way in ("image_to_text", "text_to_image")
            ),
            f"{report['rsum']:.1f}",
        )
    return table


def _report(workspace: Workspace, entry: Entry) -> dict[str, Any]:
    path = workspace.runs / entry.run / "evaluation-test.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report
