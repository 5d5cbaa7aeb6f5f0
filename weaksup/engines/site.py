"""What every machine of a cluster must have, or see under the same path."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from weaksup import __version__
from weaksup.errors import DataError, UsageError

_SAMPLES = 8


@dataclass(frozen=True)
class Site:
    """How it is on the machine that the command runs on.

    Attributes:
        version: of weaksup.
        files: (path, bytes): some images, the models, and a new file in the output folder.
    """

    version: str
    files: tuple[tuple[Path, int], ...]

    def check(self) -> None:
        """Compare with the machine that this runs on.

        Raises:
            UsageError: if weaksup has another version here.
            DataError: if a file is not here, or is another one.
        """
        machine = platform.node()
        if self.version != __version__:
            raise UsageError(
                f"the machine {machine} has weaksup {__version__}, not {self.version}",
                "install the same version on all machines",
            )
        for path, size in self.files:
            found = _size(path)
            if found != size:
                what = "does not see" if found is None else "has another content for"
                raise DataError(
                    f"the machine {machine} {what} {path}",
                    "all machines must have images, models and the output folder under the same "
                    "paths: put them on a file system that they share",
                )


@contextmanager
def described(images: Sequence[Path], models: Sequence[Path], *, folder: Path) -> Iterator[Site]:
    """The site as it is here, for the length of the block.

    Args:
        images: absolute paths, of which a few are looked for.
        models: absolute paths of weights, labels and the like, and of folders of them.
        folder: that is written to; made if missing, and removed if it is empty at the end.

    Raises:
        DataError: if ``folder`` cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark = NamedTemporaryFile(dir=folder, prefix=".weaksup-")  # noqa: SIM115 (used below)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}",
            "make room, mend the permissions, or write elsewhere with --out",
        ) from error
    try:
        with mark:
            # A folder's own size says nothing.
            inside = [file for path in models for file in _files(path)]
            paths = [*images[:: max(1, len(images) // _SAMPLES)], *inside, Path(mark.name)]
            sizes = [(path, size) for path in paths if (size := _size(path)) is not None]
            yield Site(__version__, tuple(sizes))
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def _files(path: Path) -> list[Path]:
    """A file itself, or those of a folder."""
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
