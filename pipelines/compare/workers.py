"""Cells one after the other in this process, or several at a time in processes of their own."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from pipelines.compare.cell import MakeLoggers, run_cell
from pipelines.compare.data import ComparisonData, Source
from pipelines.compare.plan import Cell
from trainer.evaluate import ProtocolName
from weaksup.cli.process import terminated_is_interrupted
from weaksup.errors import UserError
from weaksup.processes import deaf_to_ctrl_c, environment, processors, thread_variables


@dataclass(frozen=True)
class Task:
    """A cell and its folder."""

    cell: Cell
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        task: which.
        error: why it could not be done; None if it is.
    """

    task: Task
    error: UserError | None = None


Report = Callable[[Outcome], None]


def run_here(
    tasks: Sequence[Task],
    data: ComparisonData,
    *,
    protocols: Sequence[ProtocolName],
    report: Report,
    make_loggers: MakeLoggers,
) -> None:
    """Run cells one after the other.

    Raises:
        KeyboardInterrupt: on a signal, once the state of the cell is saved.
    """
    for task in tasks:
        report(_attempt(task, data, protocols, make_loggers))


def _attempt(
    task: Task,
    data: ComparisonData,
    protocols: Sequence[ProtocolName],
    make_loggers: MakeLoggers = lambda plan: [],
) -> Outcome:
    """One cell that cannot be trained does not stop the others."""
    try:
        run_cell(
            task.cell, data, folder=task.folder, protocols=protocols, make_loggers=make_loggers
        )
    except UserError as error:
        return Outcome(task, error)
    return Outcome(task)


@dataclass
class Worker:
    """A process that takes cells, and our end of the pipe to it."""

    process: SpawnProcess
    pipe: Connection
    task: Task | None = field(default=None)

    def give(self, task: Task) -> None:
        self.task = task
        self.pipe.send(task)


def run_in_processes(
    tasks: Sequence[Task],
    source: Source,
    *,
    jobs: int,
    protocols: Sequence[ProtocolName],
    report: Report,
) -> None:
    """Run cells, ``jobs`` at a time; each process has its share of the processors.

    Raises:
        KeyboardInterrupt: on a signal, once every process has saved the state of its cell.
    """
    jobs = min(jobs, len(tasks))
    waiting = list(reversed(tasks))
    workers: list[Worker] = []
    try:
        threads = max(1, processors() // jobs)
        # A terminal sends SIGINT to all, and our SIGTERM would be the second signal, which cuts
        # a process short.
        with environment(thread_variables(threads)), deaf_to_ctrl_c():
            workers += [_start(source, protocols, threads) for _ in range(jobs)]
        for worker in workers:
            worker.give(waiting.pop())
        busy = list(workers)
        while busy:
            for ready in wait([worker.pipe for worker in busy]):
                worker = next(w for w in busy if w.pipe is ready)
                report(_outcome(worker))
                if waiting:
                    worker.give(waiting.pop())
                else:
                    busy.remove(worker)
    finally:
        _stop(workers)


def _start(source: Source, protocols: Sequence[ProtocolName], threads: int) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, source, tuple(protocols), threads))
    process.start()
    # With our copy of it open, the end of the process would not be seen.
    theirs.close()
    return Worker(process, ours)


def _outcome(worker: Worker) -> Outcome:
    assert worker.task is not None
    try:
        error = worker.pipe.recv()
    except EOFError:
        worker.process.join()
        raise UserError(
            f"the process that trained '{worker.task.cell}' has ended with "
            f"{worker.process.exitcode}; what was done so far is kept",
            "if memory was short, use fewer --jobs; run the same command again to go on",
        ) from None
    if isinstance(error, UserError) or error is None:
        return Outcome(worker.task, error)
    message, remote = error
    raise RuntimeError(f"{message}, in the cell '{worker.task.cell}'") from RuntimeError(remote)


def _stop(workers: Sequence[Worker]) -> None:
    """End all processes: those in the middle of a cell save its state, and are waited for."""
    for worker in workers:
        worker.pipe.close()
        worker.process.terminate()
    try:
        for worker in workers:
            worker.process.join()
    except KeyboardInterrupt:  # asked twice: the user means now
        for worker in workers:
            worker.process.kill()
        raise


def _work(
    pipe: Connection, source: Source, protocols: Sequence[ProtocolName], threads: int
) -> None:
    """What a process does: load the data once, then cells until there are no more."""
    import torch

    torch.set_num_threads(threads)
    data: ComparisonData | None = None
    try:
        with terminated_is_interrupted():
            while True:
                task = pipe.recv()
                data = data or ComparisonData.load(source)
                pipe.send(_attempt(task, data, protocols).error)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
    except Exception as error:
        pipe.send((f"{type(error).__name__}: {error}", traceback.format_exc()))
