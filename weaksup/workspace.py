"""Where each stage's files are by default, and what the user has told us once already.

A workspace is a folder. ``workspace.toml`` in it remembers the image folders, the captions file
and, if it is elsewhere, the region store, so that the commands after the first run bare. What lies
in the workspace is named relative to it, so that it can be moved or copied whole, and anything else
by an absolute path.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from weaksup.errors import DataError, UsageError
from weaksup.files import write_atomically

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_FOLDER = "weaksup-workspace"
ENVIRONMENT_VARIABLE = "WEAKSUP_WORKSPACE"
_CONCEPTS = "concepts.json"
# What a run has before its first weights, and what makes it one that can be used.
_RUN_CONFIG, _RUN_WEIGHTS = "config.json", "model.safetensors"
# What `weaksup compare` keeps of a run in any case.
_COMPARED = "cell.json"


@dataclass(frozen=True)
class Workspace:
    """The folder in which the commands meet.

    Attributes:
        folder: may not exist yet.
        images: the image folders that ``extract`` was given.
        captions: the captions file that a command was given.
        store: where ``extract`` last wrote the region store, if that was not inside ``folder``.
        models: the files of weights, labels and concepts that ``extract`` was last given.
    """

    folder: Path
    images: tuple[Path, ...] = ()
    captions: Path | None = None
    store: Path | None = None
    models: tuple[Path, ...] = ()
    _known: bool = field(default=False, repr=False)

    @classmethod
    def open(cls, folder: str | Path | None = None) -> Workspace:
        """Read the workspace at ``folder``, ``$WEAKSUP_WORKSPACE`` or ``./weaksup-workspace``.

        Raises:
            UsageError: if the path is a file, or below one.
            DataError: if its ``workspace.toml`` cannot be read.
        """
        path = Path(folder or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_FOLDER)
        if path.exists() and not path.is_dir():
            raise UsageError(f"the workspace {path} is a file", "name a folder with --workspace")
        above = next((each for each in path.parents if each.exists()), None)
        if above is not None and not above.is_dir():
            raise UsageError(
                f"the workspace {path} cannot be made: {above} is a file, not a folder",
                "name a folder with --workspace",
            )
        memory = path / "workspace.toml"

        def place(item: object) -> Path:
            return Path(os.path.normpath(path.resolve() / str(item)))

        if not memory.exists():
            return cls(path)
        try:
            content = tomllib.loads(memory.read_text(encoding="utf-8"))
            images = tuple(place(item) for item in content.get("images", []))
            captions = place(content["captions"]) if "captions" in content else None
            store = place(content["regions"]) if "regions" in content else None
            models = tuple(place(item) for item in content.get("models", []))
        except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError, TypeError) as error:
            raise DataError(
                f"{memory} cannot be read: {error}",
                "mend or delete it, and give --images and --captions again",
            ) from error
        return cls(path, images, captions, store, models, True)

    def remember(
        self,
        *,
        images: Sequence[Path] | None = None,
        captions: Path | None = None,
        regions: Path | None = None,
        models: Sequence[Path] | None = None,
    ) -> Workspace:
        """Write what is given to ``workspace.toml`` and return the workspace that knows it.

        Raises:
            DataError: if it cannot be written.
        """
        store = regions.resolve() if regions is not None else self.store
        new = replace(
            self,
            images=tuple(p.resolve() for p in images) if images is not None else self.images,
            captions=captions.resolve() if captions is not None else self.captions,
            store=store if store != self.own_regions.resolve() else None,
            models=tuple(p.resolve() for p in models) if models is not None else self.models,
        )
        if new == self and self._known:
            return self
        # Here, so that `weaksup doctor` can say that it is missing.
        import tomli_w

        home = self.folder.resolve()

        def noted(path: Path) -> str:
            return (path.relative_to(home) if path.is_relative_to(home) else path).as_posix()

        content: dict[str, object] = {"images": [noted(path) for path in new.images]}
        if new.captions is not None:
            content["captions"] = noted(new.captions)
        if new.store is not None:
            content["regions"] = noted(new.store)
        if new.models:
            content["models"] = [noted(path) for path in new.models]
        write_atomically(
            self.folder / "workspace.toml",
            tomli_w.dumps(content),
            hint="name another folder with --workspace",
        )
        return replace(new, _known=True)

    @property
    def own_regions(self) -> Path:
        """Where ``extract`` writes the store if it is not told otherwise."""
        return self.folder / "regions.h5"

    @property
    def regions(self) -> Path:
        """The store that ``extract`` last wrote, wherever that is."""
        return self.store or self.own_regions

    @property
    def concepts(self) -> Path:
        """Beside the store, whose words it holds."""
        return concepts_file(self.regions)

    @property
    def unreadable(self) -> Path:
        return self.folder / "unreadable.txt"

    @property
    def annotations(self) -> Path:
        return self.folder / "annotations.json"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    def require(self, path: Path, *, command: str) -> Path:
        """Return ``path`` if it exists.

        Raises:
            DataError: if it does not; the hint names the command that writes it.
        """
        if not path.exists():
            raise DataError(f"{path} does not exist", f"run `weaksup {command}` first")
        return path

    def latest_run(self) -> Path:
        """The run whose weights were written last.

        Raises:
            DataError: if there is none that has weights.
        """
        weights = list(self.runs.glob(f"*/{_RUN_WEIGHTS}"))
        if weights:
            return max(weights, key=lambda path: path.stat().st_mtime_ns).parent
        begun = sorted(path.parent for path in self.runs.glob(f"*/{_RUN_CONFIG}"))
        if begun:
            raise _not_trained(begun[0])
        raise DataError(f"there is no run in {self.runs}", "run `weaksup train` first")


def concepts_file(store: Path) -> Path:
    """Where the words of a region store are, or will be: in ``concepts.json`` beside it, or in a
    file of its own if it was given one."""
    shared = store.with_name(_CONCEPTS)
    own = own_concepts_file(shared, store)
    return own if own.exists() else shared


def own_concepts_file(concepts: Path, store: Path) -> Path:
    """The name beside ``concepts`` for a store that finds another one's words in there."""
    return concepts.with_name(f"{store.name}.{concepts.name}")


def require_trained(run: Path) -> Path:
    """Return a run's folder if it has weights, or is no run's folder at all.

    Raises:
        DataError: if its training was begun and has no weights yet, or a comparison has discarded
            it.
    """
    if not (run / _RUN_CONFIG).exists() and (run / _COMPARED).exists():
        raise DataError(
            f"the run {run} was discarded: its comparison has kept the figures alone",
            "name another run, or delete this folder and run the same `weaksup compare` again "
            "without --discard-runs",
        )
    if (run / _RUN_CONFIG).exists() and not (run / _RUN_WEIGHTS).exists():
        raise _not_trained(run)
    return run


def _not_trained(run: Path) -> DataError:
    return DataError(
        f"the run {run} is not trained yet: it has no weights",
        "run the same `weaksup train` again",
    )
