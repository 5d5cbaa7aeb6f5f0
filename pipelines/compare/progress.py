"""How far the training of a cell has come, and what it has taken, interruptions included."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipelines.compare.results import PROGRESS
from pipelines.compare.stored import DamagedError, read_json
from trainer.logging import Event
from weaksup.files import write_atomically


@dataclass(frozen=True)
class Progress:
    """What ``progress.json`` holds beside the fingerprint.

    Attributes:
        seconds: of training, validation included.
        steps: that were timed.
        step_seconds: that they took, validation left out.
        trained: whether training has ended.
        val_rsum: of the best epoch; None before the end, or without val images.
        best_epoch: from 1; 0 for a closed form.
        epochs: that were run.
        peak_gpu_mib: most GPU memory that was in use; None without a GPU.
    """

    seconds: float = 0.0
    steps: int = 0
    step_seconds: float = 0.0
    trained: bool = False
    val_rsum: float | None = None
    best_epoch: int = 0
    epochs: int = 0
    peak_gpu_mib: float | None = None

    @classmethod
    def read(cls, folder: Path, fingerprint: Mapping[str, str]) -> Progress | None:
        """That of a cell; None if it was not begun, or from other things.

        Raises:
            DamagedError: if it is not what was written.
            DataError: if it cannot be read.
        """
        content = read_json(folder / PROGRESS) or {}
        if content.pop("fingerprint", None) != fingerprint:
            return None
        try:
            return cls(**content)
        except TypeError as error:
            raise DamagedError(folder / PROGRESS, error) from error

    def write(self, folder: Path, fingerprint: Mapping[str, str]) -> None:
        """Write ``progress.json``, whole or not at all."""
        content = {"fingerprint": dict(fingerprint), **asdict(self)}
        write_atomically(folder / PROGRESS, json.dumps(content, indent=2) + "\n")


class Stopwatch:
    """A logger that times training and keeps the times in the folder at every validation.

    Args:
        before: what earlier processes have spent.
        folder: of the cell.
        fingerprint: of the cell.
    """

    def __init__(self, before: Progress, folder: Path, fingerprint: Mapping[str, str]) -> None:
        self._before, self._folder, self._fingerprint = before, folder, fingerprint
        self._began = time.monotonic()
        self._last: float | None = None
        self._steps, self._step_seconds = 0, 0.0

    def log(self, event: Event) -> None:
        now = time.monotonic()
        # From one step's end to the next one's; a validation between them starts anew.
        if event.kind == "step" and self._last is not None:
            self._steps += 1
            self._step_seconds += now - self._last
        self._last = now
        if event.kind == "val":
            self.save()

    def close(self) -> None: ...

    def progress(self) -> Progress:
        """All that was spent so far."""
        return replace(
            self._before,
            seconds=self._before.seconds + time.monotonic() - self._began,
            steps=self._before.steps + self._steps,
            step_seconds=self._before.step_seconds + self._step_seconds,
        )

    def save(self) -> None:
        """Keep the times: what was spent is not forgotten when the process is killed."""
        self.progress().write(self._folder, self._fingerprint)
