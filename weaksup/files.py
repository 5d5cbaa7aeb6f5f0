"""Files that are whole or not there, and what tells two of them apart."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from weaksup.errors import DataError, UsageError

_BLOCK_BYTES = 1 << 20


def require_file(path: Path, what: str, hint: str = "") -> None:
    """Refuse a path that an option names and that is no regular file.

    Args:
        what: it should be, in a word or two.
        hint: what the user can do.

    Raises:
        UsageError: if it is a folder, or not there.
    """
    if path.is_dir():
        raise UsageError(f"the {what} {path} is a folder", hint)
    if not path.exists():
        raise UsageError(f"the {what} {path} does not exist", hint)
    if not path.is_file():
        raise UsageError(f"the {what} {path} is a device or a pipe", hint)


def why_not_writable(path: Path) -> str:
    """Why nothing can be made, or made anew, at a path; an empty string if something can.

    The folder that it lies in, or that its missing folders would lie in, is tried with a file
    without a name, which leaves nothing behind. Permissions alone would not tell: of a file system
    that may only be read, or to an administrator.

    Args:
        path: of a file or a folder.
    """
    folder = path
    try:
        if not path.is_dir():
            folder = path.parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            return f"{folder} is a file, not a folder"
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{error.strerror or error} ({folder})"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex.

    Raises:
        OSError: if it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(
    path: Path, text: str, *, hint: str = "make room, or mend the permissions"
) -> None:
    """Write a text file in UTF-8: whoever reads meanwhile sees the old one or the new one, whole.

    Args:
        path: its folder is made if missing.
        text: written as it is, line ends too.
        hint: what the user can do where the file cannot be written.

    Raises:
        DataError: if it cannot be written; the file that was there before stays.
    """
    # What a link leads to is written, and the link stays.
    path = Path(os.path.realpath(path))
    # Of this process alone: two that write the same file do not tear one another's.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise DataError(f"{path} cannot be written: {reason}", hint) from error
        raise
