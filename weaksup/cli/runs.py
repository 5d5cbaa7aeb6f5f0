"""Naming a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from weaksup.errors import DataError, UsageError, did_you_mean
from weaksup.workspace import Workspace, require_trained

if TYPE_CHECKING:
    from trainer.run import Run
    from weaksup.store import RegionStore


def run_folder(workspace: Workspace, given: str | None) -> Path:
    """The run that is named by its folder, or by its name in the workspace; else the latest.

    Raises:
        UsageError: if there is no such folder.
        DataError: if it has no weights yet, or there is no run.
    """
    if given is None:
        return workspace.latest_run()
    for folder in (Path(given), workspace.runs / given):
        if folder.is_dir():
            return require_trained(folder)
    names = sorted(path.parent.name for path in workspace.runs.glob("*/config.json"))
    nearest = did_you_mean(given, names)
    raise UsageError(
        f"--run {given}: there is no such folder" + (f"; {nearest}" if nearest else ""),
        f"runs in {workspace.runs}: {', '.join(names) or 'none'}",
    )


def recorded_file(path: Path, run: str, *, option: str) -> Path:
    """A file that a run was trained on, if it is still there.

    Args:
        path: as the run has noted it.
        run: its name.
        option: by which another place can be named.

    Raises:
        DataError: if it is gone.
    """
    if not path.exists():
        raise DataError(
            f"{path}, where the run {run} looks for what it was trained on, is gone",
            f"name it where it is now with {option}; a run moves with its whole workspace",
        )
    return path


def run_store(
    run: Run, given: Path | None, notices: Console, *, option: str = "--regions"
) -> RegionStore:
    """The store that is named, or the run's own; a warning says if another is in its place.

    That is what a run finds that was copied without its workspace, or whose store was made anew.

    Args:
        run: loaded.
        given: by the option; None for the run's own.
        notices: takes the warning.
        option: by which a store can be named.

    Raises:
        DataError: if it is gone, or no region store.
    """
    from weaksup.store import open_store

    name = run.folder.name
    store = open_store(given or recorded_file(run.regions, name, option=option))
    if given is None and store.fingerprint != run.description.fingerprint:
        notices.print(
            f"warning: {store.path} is another store than the run {name} was trained on",
            markup=False,
            highlight=False,
        )
    return store
