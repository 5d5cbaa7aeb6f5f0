"""Where a training run's figures go: a JSON lines file, TensorBoard, the terminal.

A logger takes events and knows none of their names: a loss that is new tomorrow is logged and
shown without a change here. A name may have a group before a ``/`` (``loss/gold``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, TextIO


@dataclass(frozen=True)
class Event:
    """Figures of one moment of a run.

    Attributes:
        kind: ``step`` after an optimizer step, ``val`` after a validation.
        step: optimizer steps done since the run began, before any interruption too.
        epoch: the epoch that the step belongs to, from 0.
        values: name -> figure; lr, losses and so on.
        images: how many images the step read; for images/s.
        waited: seconds for which the step waited for its batch. No figure of the run, which would
            differ from one time to the next.
    """

    kind: Literal["step", "val"]
    step: int
    epoch: int
    values: Mapping[str, float]
    images: int = 0
    waited: float = 0.0


class Logger(Protocol):
    """Takes events in order; after ``close`` no more."""

    def log(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Loggers:
    """Several loggers as one, and a context manager that closes them all.

    Example:
        >>> with Loggers([JsonlLogger(folder / "metrics.jsonl")]) as loggers:
        ...     for event in training:
        ...         loggers.log(event)
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = tuple(loggers)

    def log(self, event: Event) -> None:
        for logger in self._loggers:
            logger.log(event)

    def close(self) -> None:
        with ExitStack() as stack:
            for logger in self._loggers:
                stack.callback(logger.close)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class JsonlLogger:
    """One line an event: ``{"kind", "step", "epoch", ...figures...}``; NaN and infinity are null.

    Args:
        path: of ``metrics.jsonl``.
        resume_step: None begins the file anew. Otherwise what an earlier process wrote up to and
            with this step is kept, and what it wrote after, which will be done again, is dropped.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume_step is not None and path.exists():
            _cut(path, resume_step)
            self._file: TextIO = path.open("a", encoding="utf-8")
        else:
            self._file = path.open("w", encoding="utf-8")

    def log(self, event: Event) -> None:
        line: dict[str, Any] = {"kind": event.kind, "step": event.step, "epoch": event.epoch}
        for name, value in event.values.items():
            line[name] = value if math.isfinite(value) else None
        # Flushed line by line: a run that is killed leaves all but its last line.
        print(json.dumps(line), file=self._file, flush=True)

    def close(self) -> None:
        self._file.close()


def _cut(path: Path, last_step: int) -> None:
    """Drop lines of later steps, and a last line that was torn by the end of its process."""
    temporary = path.with_name(path.name + ".tmp")
    with path.open(encoding="utf-8") as source, temporary.open("w", encoding="utf-8") as target:
        for line in source:
            try:
                step = json.loads(line)["step"]
            except ValueError:
                continue
            if step <= last_step:
                target.write(line)
    temporary.replace(path)


class TensorBoardLogger:
    """Scalars for ``tensorboard --logdir``: grouped names as they are, others under their kind.

    Args:
        folder: where event files are written.
        resume_step: TensorBoard is told to forget what it has of later steps.
    """

    def __init__(self, folder: Path, *, resume_step: int | None = None) -> None:
        # Importing TensorBoard takes longer than everything else here.
        from torch.utils.tensorboard import SummaryWriter

        purge_step = None if resume_step is None else resume_step + 1
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def log(self, event: Event) -> None:
        for name, value in event.values.items():
            # Validation apart, since its names may be those of training.
            grouped = event.kind == "step" and "/" in name
            tag = name if grouped else f"{event.kind}/{name}"
            self._writer.add_scalar(tag, value, event.step)

    def close(self) -> None:
        self._writer.close()
