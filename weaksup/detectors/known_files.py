"""Files that may be those of a store's detector, recognised by their content."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from weaksup.errors import MissingDependencyError
from weaksup.files import sha256
from weaksup.types import Provenance

SHOWN_HEX_DIGITS = 12
HINT = "name the file, or the folder that it is in, with --models; it is recognised by its content"


class KnownFiles:
    """Where weights, configurations and labels may be.

    Args:
        paths: files, and folders, whose own files are taken; what does not exist is left out.

    Attributes:
        paths: the files.
        folders: where a model that is a whole folder may be: the folders, those right inside them,
            and those of the files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        files: list[Path] = []
        folders: list[Path] = []
        for path in paths:
            if path.is_dir():
                inside = sorted(path.iterdir())
                files += [each for each in inside if each.is_file()]
                folders += [path, *(each for each in inside if each.is_dir())]
            elif path.is_file():
                files.append(path)
                folders.append(path.parent)
        self.paths = tuple(dict.fromkeys(files))
        self.folders = tuple(dict.fromkeys(folders))
        # A file may be large: each is read once, and none before it is asked for.
        self._left = list(self.paths)
        self._found: dict[str, Path] = {}

    def find(self, digest: str) -> Path | None:
        """The file of this SHA-256; None if there is none."""
        while digest not in self._found and self._left:
            path = self._left.pop(0)
            with suppress(OSError):  # what may not be read was not read when the store was made
                self._found.setdefault(sha256(path), path)
        return self._found.get(digest)

    def missing_weights(self, provenance: Provenance) -> MissingDependencyError:
        """``missing`` for the weights file of a detector."""
        what = f"the weights of the detector {provenance.detector}"
        return self.missing(what, digest=provenance.weights_sha256)

    def missing(self, what: str, *, digest: str = "", hint: str = HINT) -> MissingDependencyError:
        """The error that says which file is wanted.

        Args:
            what: the file, such as ``the weights of the detector onnx:yolox``.
            digest: its SHA-256, if that is known.
            hint: what the user can do.
        """
        if digest:
            what += f" (SHA-256 {digest[:SHOWN_HEX_DIGITS]}...)"
        looked = ", ".join(map(str, self.paths)) or "nowhere: no file is known"
        return MissingDependencyError(
            f"a new picture cannot be read without {what}, not found (looked at {looked})",
            hint,
        )
