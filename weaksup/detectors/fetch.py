"""Weights files from the network, once for all processes of a machine."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

if sys.platform != "win32":
    import fcntl


def fetch(url: str, path: Path, *, hash_prefix: str | None = None) -> None:
    """Fetch a file, unless it is there or another process has just fetched it.

    Of several workers that need the same weights one fetches, and the others wait for it.

    Args:
        path: of the file; its folder is made if missing.
        hash_prefix: how the sha256 of the file begins, in hex.

    Raises:
        OSError: if it cannot be fetched or written, or less of it came than the server announced.
        RuntimeError: if it has another sha256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
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


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time within the block, where the file system has locks.

    The file stays, empty: a lock on one that is removed would keep nobody out.
    """
    with lock.open("w") as file:
        if sys.platform != "win32":
            with suppress(OSError):
                fcntl.lockf(file, fcntl.LOCK_EX)
        yield
