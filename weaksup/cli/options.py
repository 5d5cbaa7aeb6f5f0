"""Options and output helpers that several commands share."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from weaksup.cli import COMMANDS
from weaksup.errors import DataError, UsageError, UserError
from weaksup.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])

# An option's path that does not exist is wrong usage (exit 2): click checks it.
EXISTING = click.Path(exists=True, path_type=Path)
ANY_PATH = click.Path(path_type=Path)

# The demo brings a workspace of its own.
_IN_WORKSPACE = re.compile(rf"\bweaksup ({'|'.join(COMMANDS.keys() - {'demo'})})\b")


def in_workspace(text: str, folder: Path | None) -> str:
    """``text`` with ``--workspace`` in every call of a command, if a folder was given with it.

    A folder that comes from the environment or by default needs no naming.
    """
    if folder is None:
        return text
    named = shlex.quote(str(folder))
    return _IN_WORKSPACE.sub(lambda match: f"{match[0]} --workspace {named}", text)


def workspace_option(function: F) -> F:
    """``--workspace``: the folder in which the commands meet. Hints of errors name it, too."""

    @functools.wraps(function)
    def hinting(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except UserError as error:
            # Here, because whoever raises it deep inside knows of no command line.
            error.hint = in_workspace(error.hint, named["workspace_folder"])
            raise

    return click.option(
        "--workspace",
        "workspace_folder",
        type=ANY_PATH,
        metavar="DIR",
        help="Folder in which the commands meet.  [default: $WEAKSUP_WORKSPACE or "
        "./weaksup-workspace]",
    )(cast(F, hinting))


def run_option(function: F) -> F:
    """``--run``."""
    return click.option(
        "--run",
        metavar="DIR",
        shell_complete=complete_run,
        help="Run, or its name.  [default: the latest]",
    )(function)


def complete_run(context: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The workspace's runs that begin so, or else a folder."""
    try:
        workspace = Workspace.open(context.params.get("workspace_folder"))
        runs = sorted(path.name for path in workspace.runs.iterdir() if path.is_dir())
    except (OSError, UserError):
        runs = []
    fitting = [CompletionItem(name) for name in runs if name.startswith(begun)]
    return fitting or [CompletionItem(begun, type="dir")]


def complete_model(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Models that begin so."""
    from trainer.config import MODEL_NAMES

    return [name for name in MODEL_NAMES if name.startswith(begun)]


def regions_option(*, default: str) -> Callable[[F], F]:
    """``--regions``: a store other than the one that is described as the default."""
    return click.option(
        "--regions",
        type=EXISTING,
        metavar="FILE",
        help=f"Region store, or folder of shards.  [default: {default}]",
    )


def device_option(function: F) -> F:
    """``--device`` of commands that read many images or texts with a run."""
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, ...; auto is a GPU if there is one.",
    )(function)


def models_option(function: F) -> F:
    """``--models``: where what read the images may lie, if the workspace does not know."""
    return click.option(
        "--models",
        type=EXISTING,
        multiple=True,
        metavar="PATH",
        help="Weights, labels and concept list of the detector, to read new pictures: files, or a "
        "folder of them, recognised by content; may be repeated.  [default: where extract found "
        "them]",
    )(function)


def captions_option(function: F) -> F:
    """``--captions``: given once, remembered after. The command remembers it, once it is good."""
    return click.option(
        "--captions",
        type=EXISTING,
        metavar="FILE",
        help="Captions: Karpathy or COCO JSON, a Flickr token file, csv or jsonl. Remembered; if "
        "never given, looked for inside and beside the image folder.",
    )(function)


def resolve_captions(workspace: Workspace, given: Path | None, console: Console) -> Path:
    """The captions file that is given, remembered or found, in this order.

    One that is found is named on ``console``, and not remembered: what lies beside the images
    tomorrow may be another one, and the user has chosen neither.

    Raises:
        DataError: if there is none, or the remembered file is gone.
    """
    from weaksup.corpora import find_captions, list_captions

    if given is not None:
        return given
    if workspace.captions is not None:
        if not workspace.captions.exists():
            raise DataError(
                f"the captions file {workspace.captions} of this workspace is gone",
                "name it again with --captions FILE",
            )
        return workspace.captions
    found = find_captions(workspace.images)
    if found is None:
        option = "--captions FILE (Karpathy or COCO JSON, Flickr token file, csv, jsonl)"
        if not workspace.images:
            raise DataError(
                f"no captions file was found: the workspace {workspace.folder} knows no image "
                "folder to look beside",
                f"run `weaksup extract --images DIR` first, or name captions with {option}",
            )
        where = ", ".join(str(path) for path in workspace.images)
        raise DataError(
            f"no captions file was found inside or beside {where}", f"name one with {option}"
        )
    console.print(
        f"captions: {found} (found beside the images; --captions names another)", markup=False
    )
    others = [str(path) for path in list_captions(workspace.images) if path != found]
    if others:
        console.print(f"note: captions too, and not read: {', '.join(others)}", markup=False)
    return found


def stdout() -> Console:
    """Results. No colours or wrapping when it is piped."""
    return Console(soft_wrap=True)


def stderr(*, quiet: bool = False) -> Console:
    """Progress and notices, or none of them."""
    return Console(stderr=True, soft_wrap=True, quiet=quiet)


def rows(console: Console, title: str, lines: Sequence[tuple[str, str]]) -> None:
    """Print names and what they are, below a title, and an empty line."""
    table = Table(
        title=Text(title, style="table.title"), title_justify="left", show_header=False, box=None
    )
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(Text(name, style="bold"), Text(value))
    console.print(table)
    console.print()


def progress(console: Console) -> Progress:
    """A progress bar on ``console``; silent when that is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def parse_assignments(pairs: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` strings to a dict.

    Raises:
        UsageError: for an item without ``=``.
    """
    result = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"--set {pair}: expected KEY=VALUE", "for example --set epochs=20")
        result[key.strip()] = value.strip()
    return result
