"""The folder of a run that is to be trained: a new one, or that of a run to go on with."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from weaksup.cli.places import check_place
from weaksup.cli.process import alone_in
from weaksup.errors import DataError, UsageError
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from trainer.config import TrainConfig
    from trainer.run import RunDescription


def claim_folder(
    choose: Callable[[], tuple[Path, bool]], stack: ExitStack, *, fingerprint: dict[str, str]
) -> tuple[Path, bool]:
    """Choose the run's folder, and keep others out of it until ``stack`` is closed.

    Args:
        choose: gives the folder, and whether a run in it is to be resumed.
        stack: holds the folder's lock.
        fingerprint: what the run is made from (``trainer.train.run_fingerprint``).

    Raises:
        UsageError: if another process is in it, or has been since it was chosen; if the folder
            cannot be written; if the run in it was made from other data or settings.
        DataError: if the state of the run in it is damaged.
    """
    from trainer.checkpoint import STATE, check_fingerprint

    folder, resumes = choose()
    _check_folder(folder)
    stack.enter_context(alone_in(folder, doing="training"))
    if choose() != (folder, resumes):
        # Found before it was ours: overwriting what has come since would be a loss.
        raise UsageError(
            f"another process has just been training {folder}", "run the same command again"
        )
    if resumes:
        # Not before: until it is ours, another process may be training it, or end.
        check_fingerprint(folder / STATE, fingerprint)
    return folder, resumes


def choose_folder(
    workspace: Workspace,
    *,
    name: str | None,
    description: RunDescription,
    fingerprint: dict[str, str],
) -> tuple[Path, bool]:
    """The run's folder, and whether a run in it is to be resumed.

    A named run is resumed if it was interrupted, which :func:`claim_folder` refuses where it was
    made from other things, or begun anew if it was stopped before its first checkpoint; without a
    name, the first of ``a3vse``, ``a3vse-2``, ... that is free or can be gone on with is taken.

    Args:
        workspace: whose runs they are.
        name: of the run; None to take the model's.
        description: of the run that is wanted.
        fingerprint: what it is made from (``trainer.train.run_fingerprint``).

    Raises:
        UsageError: if a named run is another one, or finished; for a name that is none of a folder.
        DataError: if a run's files are damaged, or another process ends a run meanwhile.
    """
    from trainer.checkpoint import STATE, WEIGHTS
    from trainer.run import RunDescription

    for folder in _candidates(workspace, name, description.config.model):
        unfinished, trained = (folder / STATE).exists(), (folder / WEIGHTS).exists()
        begun = (folder / "config.json").exists()
        if not begun:
            break
        if not (unfinished or trained) and _is_same(RunDescription.read(folder), description):
            break
        if unfinished and (name is not None or _is_meant(folder, description, fingerprint)):
            return folder, True
        if name is not None:
            state = "finished" if trained else "made from other data or settings"
            raise UsageError(
                f"there is a run in {folder} already, {state}",
                "choose another --name, or delete that folder",
            )
    return folder, False


def _is_same(one: RunDescription, other: RunDescription) -> bool:
    """Whether two runs differ in nothing but where they are made, and how fast."""
    return replace(one, config=one.config.decisive) == replace(other, config=other.config.decisive)


def _is_meant(folder: Path, description: RunDescription, fingerprint: dict[str, str]) -> bool:
    """Whether an interrupted run is the one that is wanted.

    It is if ``auto`` was another precision on another device, too: that is for :func:`claim_folder`
    to refuse, and no reason to train all of it again in a further folder.
    """
    from trainer.checkpoint import PRECISION, STATE, read_fingerprint
    from trainer.run import RunDescription

    stored = read_fingerprint(folder / STATE)
    if {**stored, PRECISION: fingerprint[PRECISION]} != fingerprint:
        return False
    wanted = description.config.precision
    return stored == fingerprint or RunDescription.read(folder).config.precision == wanted


def check_runs_place(
    workspace: Workspace, *, name: str | None, settings: TrainConfig, resume: bool
) -> None:
    """Refuse a place for the run that cannot be written, before anything is read.

    It is the one that :func:`choose_folder` gives, as far as the settings alone tell.

    Args:
        workspace: whose runs they are.
        name: of the run; None to take the model's.
        settings: of the run that is wanted.
        resume: whether ``--resume`` asks for the interrupted run.

    Raises:
        UsageError: if it cannot be written; for a name that is none of a folder.
        DataError: if there is no run to resume.
    """
    if resume:
        _check_folder(interrupted_folder(workspace, name=name, settings=settings))
        return
    for folder in _candidates(workspace, name, settings.model):
        if name is not None or _is_open_to(folder, settings):
            _check_folder(folder)
            return


def _is_open_to(folder: Path, settings: TrainConfig) -> bool:
    """Whether a folder has no run, or one of these settings that has not ended."""
    from trainer.checkpoint import STATE, WEIGHTS
    from trainer.run import RunDescription

    if not (folder / "config.json").exists():
        return True
    if (folder / WEIGHTS).exists() and not (folder / STATE).exists():
        return False
    try:
        return RunDescription.read(folder).config.decisive == settings.decisive
    except DataError:  # whether that matters is told when the folder is chosen
        return False


def _check_folder(folder: Path) -> None:
    """Refuse a run's folder that cannot be written.

    Raises:
        UsageError: if it cannot be written, or is no folder.
    """
    hint = "mend the permissions, or name another with --name or --workspace"
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} cannot be written: it is no folder", hint)
    check_place(folder, hint=hint)


def interrupted_folder(workspace: Workspace, *, name: str | None, settings: TrainConfig) -> Path:
    """The folder of the run that ``--resume`` goes on with.

    The first that was interrupted and has these settings; if none has, the first, which
    :func:`claim_folder` then refuses with what differs.

    Raises:
        DataError: if there is none.
        UsageError: for a name that is none of a folder.
    """
    from trainer.checkpoint import STATE

    interrupted = []
    for folder in _candidates(workspace, name, settings.model):
        if not (folder / "config.json").exists():
            break
        if (folder / STATE).exists():
            interrupted.append(folder)
    if interrupted:
        fitting = (folder for folder in interrupted if _is_open_to(folder, settings))
        return next(fitting, interrupted[0])
    others = sorted(path.parent.name for path in workspace.runs.glob(f"*/{STATE}"))
    where = workspace.runs / name if name else f"{workspace.runs} that is named {settings.model}"
    raise DataError(
        f"there is no interrupted run to resume in {where}",
        f"name the one that is meant with --name: {', '.join(others)}"
        if others
        else "leave --resume away",
    )


def _candidates(workspace: Workspace, name: str | None, model: str) -> Iterator[Path]:
    """Folders that a run may have: the one that is named, or ``a3vse``, ``a3vse-2``, ...

    Raises:
        UsageError: for a name that is none of a folder.
    """
    if name is not None and (not name or name == ".." or Path(name).name != name):
        raise UsageError(f"--name {name!r} is no folder name", "use a name without slashes")
    yield workspace.runs / (name or model)
    if name is None:
        yield from (workspace.runs / f"{model}-{number}" for number in itertools.count(2))
