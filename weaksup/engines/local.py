"""Workers in processes of this machine, one for each GPU or share of the processors."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from weaksup.detectors.build import ModelChoice
from weaksup.engines.crew import Died, Event
from weaksup.engines.worker import Worker
from weaksup.extract import Shard
from weaksup.processes import deaf_to_ctrl_c, environment, processors, thread_variables

VISIBLE = "CUDA_VISIBLE_DEVICES"
_END_SECONDS = 10.0
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)


@dataclass(frozen=True)
class _Process:
    process: SpawnProcess
    pipe: Connection
    place: int


class LocalCrew:
    """Worker processes; one that dies is started again in its place, on its GPU.

    The GPUs that this process sees are given out in turn, one to each process.

    Args:
        models: which; on the device ``cpu`` no GPU is given out.
        processes: how many.
        batch_size: images that are detected and committed together.
        threads: of each process; by default its share of the processors, and one more.
    """

    def __init__(
        self, models: ModelChoice, *, processes: int, batch_size: int, threads: int | None = None
    ) -> None:
        share = max(1, processors() // processes)
        self._worker = Worker(models, batch_size=batch_size, threads=threads or share + 1)
        self._share = share
        self._gpus = [] if models.options.device == "cpu" else _gpus()
        self._places = set(range(processes))
        self._workers: dict[int, _Process] = {}
        self._next = 0
        self.size = processes
        self.asks = ""

    def start(self) -> int:
        """One more process, in a place that is free."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        place = min(self._places)
        self._places.remove(place)
        variables = thread_variables(self._share)
        if self._gpus:
            variables[VISIBLE] = self._gpus[place % len(self._gpus)]
        process = context.Process(target=_work, args=(theirs, self._worker), daemon=True)
        with environment(variables), deaf_to_ctrl_c():
            process.start()
        # With our copy of it open, the end of the process would not be seen.
        theirs.close()
        number, self._next = self._next, self._next + 1
        self._workers[number] = _Process(process, ours, place)
        return number

    def give(self, worker: int, shard: Shard) -> None:
        """Send the shard. If the process is gone, ``wait`` tells."""
        with suppress(*_GONE):
            self._workers[worker].pipe.send(shard)

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """One event of each process that has one."""
        numbers = {id(worker.pipe): number for number, worker in self._workers.items()}
        ready = wait([worker.pipe for worker in self._workers.values()], seconds)
        return [(number, self._event(number)) for number in [numbers[id(pipe)] for pipe in ready]]

    def _event(self, number: int) -> Event:
        worker = self._workers[number]
        try:
            event: Event = worker.pipe.recv()
        except _GONE:
            del self._workers[number]
            worker.pipe.close()
            worker.process.join()
            self._places.add(worker.place)
            return Died(_ending(worker.process.exitcode))
        return event

    def __enter__(self) -> LocalCrew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers.values():
            worker.pipe.close()
            if error is not None:
                # What is committed stays whatever ends the process.
                worker.process.kill()
        for worker in self._workers.values():
            worker.process.join(_END_SECONDS)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
        self._workers.clear()


def _work(pipe: Connection, worker: Worker) -> None:
    """What a process does: shards until the other end of the pipe is closed."""
    with suppress(*_GONE):
        pipe.send(worker.prepare())
        while True:
            with closing(worker.extract(pipe.recv())) as events:
                for event in events:
                    pipe.send(event)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with {code}"


def _gpus() -> list[str]:
    """The GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
