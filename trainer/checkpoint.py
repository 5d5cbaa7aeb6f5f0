"""Checkpoints: weights as safetensors, the rest of a run's state beside them. Nothing is unpickled.

A run folder holds ``model.safetensors`` (the best weights), ``vocabulary.json``, ``config.json``,
and, until training has ended, ``last.pt`` (everything that resuming needs, read with
``weights_only=True``).
"""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainer.config import flat_settings
from weaksup.errors import DataError, UsageError
from weaksup.wording import first_few

WEIGHTS, STATE = "model.safetensors", "last.pt"
NOT_WRITTEN = (
    "make room, or mend the permissions, and run the same command again: it goes on from its last "
    "checkpoint"
)
PARTS = {"modules", "position", "fingerprint", "random"}
# Of a fingerprint: JSON, which tells what differs; and what a run is computed in.
SETTINGS, PRECISION = "settings", "precision"


@dataclass
class Position:
    """How far a run has come.

    Attributes:
        epoch: epochs completed.
        step: steps completed in the epoch after these.
        best_rsum: of the validation so far; below 0 before the first.
        best_epoch: epochs completed when it was reached.
    """

    epoch: int = 0
    step: int = 0
    best_rsum: float = -1.0
    best_epoch: int = 0


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers, whole or not at all.

    Raises:
        DataError: if they cannot be written.
    """
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    with _written(path) as temporary:
        # safetensors makes its files for their owner alone; others may be meant to read a run. So
        # is what a kill has left of one.
        temporary.unlink(missing_ok=True)
        temporary.touch()
        permissions = stat.S_IMODE(temporary.stat().st_mode)
        save_file(tensors, temporary)
        with suppress(PermissionError):  # as on file systems that have no permissions
            temporary.chmod(permissions)


def load_weights(path: Path, model: nn.Module) -> None:
    """Read what ``save_weights`` wrote; every name and shape must fit.

    Raises:
        DataError: if the file is missing, damaged, or of another model: that of another version,
            or of other settings.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {error}", "train the run again") from error
    different = _differences(stored, model.state_dict())
    if different:
        raise DataError(
            f"{path} does not fit its config.json and this version of weaksup: "
            f"{'; '.join(different)}",
            "another version of weaksup has written it, or files of several runs are mixed: train "
            "it again with `weaksup train`",
        )
    model.load_state_dict(stored)


def _differences(stored: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """What keeps tensors from being loaded, a phrase for each kind of difference."""
    kinds = {
        "missing": sorted(expected.keys() - stored.keys()),
        "not known": sorted(stored.keys() - expected.keys()),
        "of another shape": sorted(
            name
            for name in stored.keys() & expected.keys()
            if stored[name].shape != expected[name].shape
        ),
    }
    return [f"{what}: {first_few(names)}" for what, names in kinds.items() if names]


def save_state(
    path: Path, *, modules: dict[str, Any], position: Position, fingerprint: dict[str, str]
) -> None:
    """Write everything that exact resuming needs.

    Args:
        path: of the state file.
        modules: name -> object with ``state_dict`` (model, objective, optimizer, schedule, ...).
        position: how far the run has come.
        fingerprint: what the run was made from; resuming with anything else is refused.

    Raises:
        DataError: if it cannot be written; the file that was there before stays.
    """
    state = {
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "position": asdict(position),
        "fingerprint": fingerprint,
        "random": {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }
    with _written(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write, which takes its place if that has gone well.

    Raises:
        DataError: if it could not be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        # What is half written would only keep the disk full.
        with suppress(OSError):
            temporary.unlink()
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be written: {reason}", NOT_WRITTEN) from error


def load_state(
    path: Path,
    *,
    modules: dict[str, Any],
    fingerprint: dict[str, str],
    device: torch.device,
    alone: bool = True,
) -> Position:
    """Restore what ``save_state`` wrote and return the position.

    Args:
        path: of the state file.
        modules: as ``save_state`` takes them; changed in place.
        fingerprint: what the run is made from now.
        device: of the modules; each takes there what belongs there.
        alone: whether one process trains the run. Of several each goes on with the random state
            of the first, which is on the first GPU of its machine.

    Raises:
        DataError: if the file is damaged, gone, or of another version.
        UsageError: if the run was made from other data or settings.
    """
    state = _read_state(path)
    _compare(path, state["fingerprint"], fingerprint)
    for name, module in modules.items():
        try:
            module.load_state_dict(state["modules"][name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{path} does not fit this version of weaksup: its {name} is another one",
                "delete the run's folder and train it again",
            ) from error
    torch.set_rng_state(state["random"]["torch"])
    states = state["random"]["cuda"]
    if device.type == "cuda" and states and not alone:
        torch.cuda.set_rng_state(states[0], device)
    elif torch.cuda.is_available() and states:
        # There may be fewer now.
        torch.cuda.set_rng_state_all(states[: torch.cuda.device_count()])
    return Position(**state["position"])


def read_fingerprint(path: Path) -> dict[str, str]:
    """What the interrupted run behind a state file was made from.

    Raises:
        DataError: if the file is damaged, or gone.
    """
    # Mapped: of a large model and its optimizer next to nothing is read.
    state = _read_state(path, mapped=True)
    fingerprint: dict[str, str] = state["fingerprint"]
    return fingerprint


def check_fingerprint(path: Path, fingerprint: dict[str, str]) -> None:
    """Refuse to resume with anything but what the run was made from.

    Raises:
        DataError: if the file is damaged, or gone.
        UsageError: if the run was made from other data or settings.
    """
    _compare(path, read_fingerprint(path), fingerprint)


def _compare(path: Path, stored: dict[str, str], fingerprint: dict[str, str]) -> None:
    different = [name for name, value in fingerprint.items() if stored.get(name) != value]
    if different == [PRECISION] and PRECISION in stored:
        before, now = stored[PRECISION], fingerprint[PRECISION]
        raise UsageError(
            f"the interrupted run in {path.parent} was trained in the precision {before}, and "
            f"would go on in {now}",
            f"give the setting precision={before}, choose another --name, or delete that folder",
        )
    if different:
        if SETTINGS in different:
            told = _told_settings(stored.get(SETTINGS, ""), fingerprint[SETTINGS])
            different[different.index(SETTINGS)] += f" ({told})" if told else ""
        raise UsageError(
            f"the interrupted run in {path.parent} was made with other {' and '.join(different)}",
            "go on with what it was made with, choose another --name, or delete that folder",
        )


def _told_settings(before: str, now: str) -> str:
    """How settings differ; empty if that cannot be told.

    Args:
        before, now: as JSON.
    """
    try:
        old, new = (flat_settings(json.loads(text)) for text in (before, now))
    except (ValueError, AttributeError):
        return ""
    told = [
        f"{name} {_told_value(old.get(name))}, now {_told_value(new.get(name))}"
        for name in {**new, **old}
        if old.get(name) != new.get(name)
    ]
    return first_few(told, separator="; ")


def _told_value(value: object) -> str:
    """A setting in words: one that only the other version has is none, as one without a value."""
    return "none" if value is None else json.dumps(value)


def _read_state(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    try:
        # Never to a GPU: an optimizer leaves the numbers of its steps where they are loaded to, and
        # would wait for the GPU at each parameter of every step.
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is gone: another process has ended this run, or deleted it",
            "run the same command again",
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise DataError(
            f"{path} cannot be read: {error}", "delete the run's folder and train it again"
        ) from error
    if not isinstance(state, dict) or not state.keys() >= PARTS:
        raise DataError(
            f"{path} is no state of a run", "delete the run's folder and train it again"
        )
    return state


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
