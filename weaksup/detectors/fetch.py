"""Weights files from the network, once for all processes of a machine."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from uuid import uuid4

import torch

if sys.platform != "win32":
    import fcntl


def fetch(url: str, path: Path, *, hash_prefix: str | None = None) -> None:
    """Fetch a file, unless it is there or another process has just fetched it.

    Of several workers that need the same weights one fetches, and the others wait for it, or fail
    with it.

    Args:
        path: of the file; its folder is made if missing.
        hash_prefix: how the sha256 of the file begins, in hex.

    Raises:
        OSError: if it cannot be fetched or written, or less of it came than the server announced.
        RuntimeError: if it has another sha256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_name(f".{path.name}.lock")) as turn:
        if path.is_file():
            return
        if turn.failure is not None:
            raise turn.failure
        try:
            _download(url, path, hash_prefix=hash_prefix)
        except (OSError, RuntimeError) as error:
            turn.tell(error)
            raise


def _download(url: str, path: Path, *, hash_prefix: str | None) -> None:
    part = path.with_name(f"{path.name}.part")
    torch.hub.download_url_to_file(
        url, str(part), hash_prefix=hash_prefix, progress=sys.stderr.isatty()
    )
    _check_whole(part, url)
    part.replace(path)


def _check_whole(part: Path, url: str) -> None:
    """Refuse a file whose connection was cut: torch keeps what has come."""
    announced = None
    with (
        suppress(urllib.error.HTTPError),  # not every server tells a size beforehand
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer,
    ):
        announced = answer.headers.get("Content-Length")
    size = part.stat().st_size
    if announced is not None and size != int(announced):
        part.unlink()
        raise OSError(f"{size:,} of {int(announced):,} bytes came from {url}")


class _Turn:
    """What the processes that wait for one file tell one another, in the file that they lock.

    Attributes:
        failure: what another process failed with while this one waited, if one did: it would
            fail again, and with large files after a long time.
    """

    def __init__(self, file: FileIO, *, before: bytes) -> None:
        self._file = file
        said = _read(file)
        self.failure = _failure(said) if said != before else None

    def tell(self, error: Exception) -> None:
        """Let those that wait now fail in the same way."""
        said = {
            "one of": uuid4().hex,  # or the same failure twice would look like an old one
            "system": isinstance(error, OSError),
            "message": str(error),
        }
        with suppress(OSError):  # a disk that is full: they find out for themselves
            self._file.truncate(0)
            self._file.write(json.dumps(said).encode())


def _failure(said: bytes) -> OSError | RuntimeError | None:
    """The inverse of :meth:`_Turn.tell`; None for what is cut off."""
    try:
        content = json.loads(said)
    except ValueError:
        return None
    return (OSError if content["system"] else RuntimeError)(content["message"])


def _read(file: FileIO) -> bytes:
    file.seek(0)
    return file.readall()


@contextmanager
def _alone(lock: Path) -> Iterator[_Turn]:
    """One process at a time within the block, where the file system has locks.

    The file stays: a lock on one that is removed would keep nobody out.
    """
    with FileIO(lock, "a+") as file:
        before = _read(file)
        if sys.platform != "win32":
            with suppress(OSError):
                fcntl.lockf(file, fcntl.LOCK_EX)
        yield _Turn(file, before=before)
