"""Runs as commands are told of them, and the files that they were made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weaksup.errors import DataError, UsageError, did_you_mean
from weaksup.workspace import Workspace, require_trained

if TYPE_CHECKING:
    from trainer.run import Run


def run_folder(workspace: Workspace, given: str | None) -> Path:
    """The run that is named by its folder, or by its name in the workspace; else the latest."""
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


def recorded(path: Path, run: Run, *, option: str) -> Path:
    """A file that the run was trained on, if it is still there."""
    if not path.exists():
        raise DataError(
            f"{path}, which the run {run.folder.name} was trained on, is gone",
            f"name it where it is now with {option}",
        )
    return path
