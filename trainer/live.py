"""The terminal's view of a training run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainer.logging import Event

# The panel shows means over this many steps.
WINDOW = 50
REFRESH_SECONDS = 0.25


class LiveView:
    """One line an epoch, and on a terminal a panel below that follows every step.

    Args:
        console: of stderr: results have stdout for themselves.
        epochs: of the whole run.
        total_steps: of the whole run.
        start_step: steps that were done before this process.
        primary: the figure of ``val`` events that is shown; more is better.
        best: the best of it before this process.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        console: Console,
        *,
        epochs: int,
        total_steps: int,
        start_step: int = 0,
        primary: str = "rsum",
        best: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._epochs, self._total_steps = epochs, total_steps
        self._primary, self._best, self._best_epoch = primary, best, 0
        self._clock = clock
        self._start_step, self._start_time = start_step, clock()
        self._step, self._epoch = start_step, 0
        self._recent: deque[Mapping[str, float]] = deque(maxlen=WINDOW)
        self._of_epoch: list[Mapping[str, float]] = []
        # Times at which images were done, apart from validation.
        self._done: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._refreshed = -REFRESH_SECONDS
        self._live: Live | None = None
        if console.is_terminal:
            # Drawn by log() and by no thread: figures are never read while they change.
            self._live = Live(
                console=console, auto_refresh=False, transient=True, redirect_stdout=False
            )
            self._live.start()

    def log(self, event: Event) -> None:
        if event.kind == "step":
            if event.epoch != self._epoch:
                self._end_epoch("")
            self._epoch, self._step = event.epoch, event.step
            self._recent.append(event.values)
            self._of_epoch.append(event.values)
            self._done.append((self._clock(), event.images))
        else:
            self._epoch = event.epoch
            self._end_epoch(self._validated(event))
            self._done.clear()
        self._refresh()

    def close(self) -> None:
        self._end_epoch("")
        if self._live is not None:
            self._live.stop()

    def _validated(self, event: Event) -> str:
        value = event.values.get(self._primary)
        if value is None:
            return ""
        better = self._best is None or value > self._best
        if better:
            self._best, self._best_epoch = value, event.epoch + 1
        return f"val {self._primary} {_figure(value)}" + (" (best)" if better else "")

    def _end_epoch(self, validation: str) -> None:
        """Print the epoch's line, unless there is nothing that an earlier line did not say."""
        if not self._of_epoch and not validation:
            return
        parts = [f"epoch {self._epoch + 1}/{self._epochs}, step {self._step}"]
        parts += [" ".join((*name, *figures)) for name, figures in _groups(self._of_epoch)]
        parts += [part for part in (validation, self._speed(), self._left()) if part]
        self._of_epoch = []
        self._console.print(Text(" | ".join(parts)), soft_wrap=not self._console.is_terminal)

    def _speed(self) -> str:
        if len(self._done) < 2:
            return ""
        (first, _), (last, _) = self._done[0], self._done[-1]
        images = sum(images for _, images in self._done) - self._done[0][1]
        return f"{images / (last - first):.0f} images/s" if images and last > first else ""

    def _left(self) -> str:
        done = self._step - self._start_step
        if not done or self._step >= self._total_steps:
            return ""
        # From the start, so that validations count in.
        seconds = (self._clock() - self._start_time) / done * (self._total_steps - self._step)
        return f"{timedelta(seconds=round(seconds))} left"

    def _refresh(self) -> None:
        if self._live is None or self._clock() - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = self._clock()
        self._live.update(self._panel(), refresh=True)

    def _panel(self) -> RenderableType:
        # The bar takes what the figures leave.
        head = Table.grid(padding=(0, 2), expand=True)
        for ratio in (None, 1, None, None, None):
            head.add_column(no_wrap=True, ratio=ratio)
        head.add_row(
            Text(f"epoch {self._epoch + 1}/{self._epochs}", style="bold"),
            ProgressBar(total=self._total_steps, completed=self._step),
            Text(f"step {self._step}/{self._total_steps}"),
            Text(self._speed(), style="cyan"),
            Text(self._left(), style="cyan"),
        )
        body = Table.grid(padding=(0, 2))
        for name, figures in _groups(self._recent):
            body.add_row(Text(" ".join(name), style="dim"), Text("  ".join(figures)))
        if self._best is not None:
            epoch = f" at epoch {self._best_epoch}" if self._best_epoch else ""
            best = f"val {self._primary} {_figure(self._best)}{epoch}"
            body.add_row(Text("best", style="dim"), Text(best, style="green"))
        return Group(head, body)


def _groups(events: Iterable[Mapping[str, float]]) -> list[tuple[tuple[str, ...], list[str]]]:
    """Figures as text, under the part of the name before ``/`` (none: an empty tuple).

    Those in a group jump from step to step: their mean. The others (lr) are as they were last.
    """
    values: dict[str, list[float]] = {}
    for event in events:
        for name, value in event.items():
            values.setdefault(name, []).append(value)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, numbers in values.items():
        group, _, rest = name.rpartition("/")
        shown = sum(numbers) / len(numbers) if group else numbers[-1]
        figure = f"{rest} {_figure(shown)}"
        groups.setdefault((group,) if group else (), []).append(figure)
    return sorted(groups.items(), key=lambda item: not item[0])


def _figure(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"
