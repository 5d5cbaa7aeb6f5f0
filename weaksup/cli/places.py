"""Where a command writes, tried when the command line is read: not after hours of work."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from weaksup.errors import UsageError
from weaksup.files import why_not_writable


class Place(click.Path):
    """The type of an option that names what is to be written: a file, a folder, or either.

    A place that cannot be written is wrong usage (exit 2), whichever command and option it is. What
    goes wrong later, such as a full disk, is not (exit 3).

    Args:
        file: whether it may be a file.
        folder: whether it may be a folder.
        special: whether it may be a device, a pipe or /dev/stdout.
    """

    def __init__(self, *, file: bool = True, folder: bool = False, special: bool = False) -> None:
        super().__init__(file_okay=file, dir_okay=folder, readable=False, path_type=Path)
        self.special = special

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path: Path = super().convert(value, param, ctx)  # type: ignore[assignment]
        option = param.opts[-1] if param is not None else ""
        check_place(path, option=option, special=self.special)
        return path


def check_place(path: Path, *, option: str = "", hint: str = "", special: bool = False) -> None:
    """Refuse a place that cannot be written, of an option or where a command writes by default.

    Args:
        path: of a file or a folder, which may exist; the folders that it lies in may not yet.
        option: that names another one.
        hint: what the user can do, where that is not to name another with ``option``.
        special: whether it may be a device, a pipe or /dev/stdout.

    Raises:
        UsageError: if it cannot be written.
    """
    hint = hint or f"name another with {option}"
    if is_special(path) and not path.is_dir():
        if special:
            return
        # What is written here replaces what was there: /dev/null, too.
        raise UsageError(f"{path} is no file that could be replaced", hint)
    # Of a link, what it leads to is written.
    reason = why_not_writable(Path(os.path.realpath(path)))
    if reason:
        raise UsageError(f"{path} cannot be written: {reason}", hint)


def is_special(path: Path) -> bool:
    """Whether a path is a device, a pipe, or what standard output or error goes to."""
    try:
        return path.exists() and (not path.is_file() or standard_stream(path) is not None)
    except OSError:  # such as a name that is too long
        return False


def standard_stream(path: Path) -> int | None:
    """The descriptor, 1 or 2, that writes to this very file; None if neither does."""
    sys.stdout.flush()
    for number in (1, 2):
        with suppress(OSError):  # it is closed
            if os.path.samestat(path.stat(), os.fstat(number)):
                return number
    return None
