"""``--json FILE``: what a command found, for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from weaksup.errors import DataError, UsageError
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
        type=click.Path(dir_okay=False, readable=False, path_type=Path),
        metavar="FILE",
        help=f"Write {what} to FILE as well; it may be a device, a pipe or /dev/stdout.",
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write figures where the user wants them, leaving links and devices what they are.

    Raises:
        UsageError: if it cannot be written.
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
    except DataError as error:
        raise UsageError(error.message, error.hint) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "name another file"
        ) from error


def _open_special(path: Path) -> int | None:
    """A descriptor to write to what is no regular file; None for a regular or a new file."""
    if not path.exists():
        return None
    sys.stdout.flush()
    # /dev/stdout may be a regular file: opened anew, it would be written from its start.
    for number in (1, 2):
        with suppress(OSError):  # it is closed
            if os.path.samestat(path.stat(), os.fstat(number)):
                return os.dup(number)
    return None if path.is_file() else os.open(path, os.O_WRONLY)
