"""``--json FILE``: what a command found, for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from weaksup.cli.places import Place, standard_stream
from weaksup.errors import DataError
from weaksup.files import write_atomically

F = TypeVar("F", bound=Callable[..., Any])


def json_option(what: str) -> Callable[[F], F]:
    """``--json``, as the parameter ``json_file``.

    Args:
        what: is written.
    """
    return click.option(
        "--json",
        "json_file",
        type=Place(special=True),
        metavar="FILE",
        help=f"Write {what} to FILE as well; it may be a device, a pipe or /dev/stdout.",
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write figures where the user wants them, leaving links and devices what they are.

    Raises:
        DataError: if it cannot be written, though it could when the command line was read.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        stream = _open_special(path)
        if stream is not None:
            with os.fdopen(stream, "w", encoding="utf-8") as file:
                file.write(text)
            return
        # A regular file appears whole, in place of what a link leads to and not of the link.
        write_atomically(Path(os.path.realpath(path)), text, hint="name another file")
    except BrokenPipeError:
        raise  # the reader has left: no defect, and nobody listens
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}", "name another file"
        ) from error


def _open_special(path: Path) -> int | None:
    """A descriptor to write to what is no regular file; None for a regular or a new file."""
    if not path.exists():
        return None
    # /dev/stdout may be a regular file: opened anew, it would be written from its start.
    stream = standard_stream(path)
    if stream is not None:
        return os.dup(stream)
    return None if path.is_file() else os.open(path, os.O_WRONLY)
