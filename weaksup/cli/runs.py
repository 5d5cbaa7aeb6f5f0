"""Naming a run."""

from __future__ import annotations

from pathlib import Path

from weaksup.errors import DataError, UsageError, did_you_mean
from weaksup.workspace import Workspace, require_trained


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
