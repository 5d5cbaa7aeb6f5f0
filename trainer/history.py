"""What ``metrics.jsonl`` of a run says, read back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from trainer.logging import Event
from weaksup.errors import DataError


@dataclass(frozen=True)
class History:
    """A run's figures, in the order of their steps.

    Attributes:
        steps: after each optimizer step.
        validations: after each epoch; none where the captions have no val images.
    """

    steps: tuple[Event, ...]
    validations: tuple[Event, ...]

    @property
    def epochs(self) -> int:
        """How many were finished; of a run that has weights, which it has after the first."""
        if self.validations:
            return len({event.epoch for event in self.validations})
        if not self.steps:
            return 0
        # Nothing is logged at the end of an epoch then: each has as many steps as the first.
        first = self.steps[0].epoch
        length = max(event.step for event in self.steps if event.epoch == first) // (first + 1)
        return self.steps[-1].step // length

    @property
    def best(self) -> Event | None:
        """The validation with the highest rsum, whose weights a run keeps."""
        rated = [event for event in self.validations if "rsum" in event.values]
        return max(rated, key=lambda event: event.values["rsum"], default=None)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of a figure of the steps, where it is there and a number."""
        found = [(event.step, event.values[name]) for event in self.steps if name in event.values]
        return [step for step, _ in found], [value for _, value in found]


def read_history(path: Path) -> History:
    """Read ``metrics.jsonl``; a missing file is an empty history, and a torn line is passed over.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return History((), ())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", "train the run again") from error
    steps: list[Event] = []
    validations: list[Event] = []
    for line in text.splitlines():
        event = _event(line)
        if event is not None:
            (validations if event.kind == "val" else steps).append(event)
    return History(tuple(steps), tuple(validations))


def _event(line: str) -> Event | None:
    try:
        content = json.loads(line)
        kind, step, epoch = content.pop("kind"), int(content.pop("step")), int(content.pop("epoch"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if kind not in ("step", "val"):
        return None
    values = {
        name: float(value)
        for name, value in content.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    return Event(kind, step, epoch, values)
