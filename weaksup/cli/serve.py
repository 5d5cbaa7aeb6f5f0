"""``weaksup serve``: a local page to search with sentences and pictures."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import click

from weaksup.cli.options import (
    in_workspace,
    models_option,
    run_option,
    stderr,
    stdout,
    workspace_option,
)
from weaksup.cli.runs import run_folder
from weaksup.errors import MissingDependencyError, UsageError
from weaksup.wording import counted
from weaksup.workspace import Workspace

# Nobody but this machine: the pictures are the user's own.
HOST = "127.0.0.1"


@click.command("serve")
@run_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0 takes one that is free.",
)
@models_option
@workspace_option
def command(
    run: str | None, port: int, models: tuple[Path, ...], workspace_folder: Path | None
) -> None:
    """Search on a local page, with sentences and pictures.

    Type a sentence, or drop a picture. A result shows its regions, what they are called, and what
    the network makes of them. The page is on this machine alone and loads nothing from elsewhere.
    It needs an index.

    \b
    Examples:
      weaksup serve
      weaksup serve --run a3vse --port 8080
    """
    from trainer.index import open_index
    from trainer.run import load_run

    workspace = Workspace.open(workspace_folder)
    loaded = load_run(run_folder(workspace, run))
    index = open_index(loaded)
    try:
        import uvicorn

        from pipelines.web.app import make_app
        from pipelines.web.library import Library
    except ImportError as error:
        raise MissingDependencyError(
            f"the page needs {error.name}, which is not installed", "pip install 'weaksup[app]'"
        ) from error
    if not workspace.images:
        stderr().print(
            in_workspace(
                "note: the workspace remembers no image folder: results have no pictures; "
                "run `weaksup extract --images DIR`",
                workspace_folder,
            ),
            markup=False,
        )
    library = Library(loaded, index, folders=workspace.images, files=(*models, *workspace.models))
    listening = _listen(port)
    address = f"http://{HOST}:{listening.getsockname()[1]}"
    served = counted(len(index), "image")
    stdout().print(f"serving {served} of {loaded.folder.name}", highlight=False)
    stdout().print(f"next: open {address} in a browser; Ctrl-C ends", markup=False)
    config = uvicorn.Config(make_app(library), log_level="warning", access_log=False)
    with suppress(KeyboardInterrupt):  # the way to end it: nothing is unfinished
        uvicorn.Server(config).run(sockets=[listening])


def _listen(port: int) -> socket.socket:
    """A socket on this machine's own address.

    Raises:
        UsageError: if the port is taken or may not be had.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        # From here on a browser waits for its answer, and is not refused.
        listening.listen()
    except OSError as error:
        listening.close()
        raise UsageError(
            f"port {port} cannot be had: {error.strerror}", "name another one with --port"
        ) from error
    return listening
