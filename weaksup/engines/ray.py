"""Workers as actors on a Ray cluster, or on a Ray that runs for the length of the command."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from weaksup.detectors.build import AUTO, ModelChoice
from weaksup.engines.crew import Died, Event, Step
from weaksup.engines.site import described
from weaksup.engines.worker import Worker
from weaksup.errors import MissingDependencyError, UsageError
from weaksup.extract import Shard

ADDRESS = "RAY_ADDRESS"
_OWN = "local"  # what Ray calls a cluster of its own
_CONNECT_SECONDS = 10.0


class RayCrew:
    """Actors wherever the cluster has room; for one that dies, with its machine or without, another
    one is started.

    On a GPU an actor has one, and its share of the machine's processors; on the CPU, one processor.

    Args:
        models: which; the device ``auto`` is the GPU if the cluster has one.
        images: absolute paths of the images.
        folder: that is written to; absolute.
        batch_size: images that are detected and committed together.
        processes: how many actors; by default as many as there is room for.
        threads: of each actor, and then also its processors.

    Raises:
        MissingDependencyError: if Ray is not installed.
        UsageError: on entering, if the cluster of ``RAY_ADDRESS`` cannot be used, or no machine of
            it has what an actor asks for.
        DataError: on entering, if ``folder`` cannot be written.
    """

    def __init__(
        self,
        models: ModelChoice,
        *,
        images: Sequence[Path],
        folder: Path,
        batch_size: int,
        processes: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._ray = _import_ray()
        self._models = models.absolute()
        self._images, self._folder = images, folder
        self._batch_size, self._processes, self._threads = batch_size, processes, threads
        self._stack = ExitStack()
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, int] = {}  # what an actor will answer: which one
        self._next = 0
        self.size = 0
        self.asks = ""

    def __enter__(self) -> RayCrew:
        with ExitStack() as stack:
            if not self._ray.is_initialized():
                _connect(self._ray, os.environ.get(ADDRESS) or _OWN)
                stack.callback(self._ray.shutdown)
            rooms = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._needs = _needs(rooms, self._models.options.device, self._threads)
            self.asks = " and ".join(f"{count} {kind}" for kind, count in self._needs.items())
            self.size = _room(rooms, self._needs)
            if not self.size:
                raise UsageError(
                    f"no machine of the Ray cluster has {self.asks}",
                    "take another --device or fewer --workers",
                )
            self.size = self._processes or self.size
            site = described(self._images, self._models.files, folder=self._folder)
            self._arguments = {
                "models": self._models if "GPU" in self._needs else self._models.on("cpu"),
                "batch_size": self._batch_size,
                "threads": self._threads or self._needs["CPU"] + 1,
                "site": stack.enter_context(site),
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            for actor in self._actors.values():
                # What is committed stays whatever ends the actor.
                self._ray.kill(actor)
            self._actors.clear()
            self._calls.clear()

    def start(self) -> int:
        """Ask Ray for one more actor; it comes when there is room."""
        remote = self._ray.remote(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs.get("GPU", 0),
            scheduling_strategy="SPREAD",
            # Ours is the only list of who does what: Ray must do nothing a second time.
            max_restarts=0,
            max_task_retries=0,
        )
        actor = remote(Worker).remote(**self._arguments)
        number, self._next = self._next, self._next + 1
        self._actors[number] = actor
        self._calls[actor.prepare.remote()] = number
        return number

    def give(self, worker: int, shard: Shard) -> None:
        """Call the actor; it answers once for each event."""
        call = self._actors[worker].extract.options(num_returns="streaming").remote(shard)
        self._calls[call] = worker

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """One event of each actor that has one."""
        calls = list(self._calls)
        if not calls:  # all wait for shards that may not be given yet
            time.sleep(seconds)
            return []
        self._ray.wait(calls, timeout=seconds, fetch_local=False)
        # With the first that has answered, all that have.
        ready, _ = self._ray.wait(calls, num_returns=len(calls), timeout=0, fetch_local=False)
        return [(self._calls[call], self._event(call)) for call in ready]

    def _event(self, call: Any) -> Event:
        stream = not isinstance(call, self._ray.ObjectRef)
        try:
            event: Event = self._ray.get(next(call) if stream else call)
        except self._ray.exceptions.RayError as error:
            # It may only be out of reach: then it must not write any more.
            self._ray.kill(self._actors.pop(self._calls[call]))
            event = Died(_reason(error))
        if not isinstance(event, Step):
            del self._calls[call]
        return event


def _import_ray() -> Any:
    # Ray would tell its makers that it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            f"--engine ray needs Ray, which cannot be imported: {error}",
            "pip install 'weaksup[ray]'",
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    _check_address(address)
    # Ray puts a handler of its own in the place of the one that ends us gently.
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address, include_dashboard=False, log_to_driver=False, logging_level="error"
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"the Ray cluster '{address}' cannot be used: {str(error).partition(chr(10))[0]}",
            f"`ray status` says whether one runs here, {ADDRESS}=HOST:PORT names another, and all "
            "machines need the same versions of Python and Ray",
        ) from error
    finally:
        if main and before is not None:
            signal.signal(signal.SIGTERM, before)


def _check_address(address: str) -> None:
    """Find out soon whether anybody listens: Ray itself tries for a minute."""
    if "://" in address:
        raise UsageError(
            f"{address} is an address of Ray's client, which sees no files of the cluster",
            f"run the command on a machine of the cluster, with {ADDRESS}=auto or HOST:6379",
        )
    host, colon, port = address.rpartition(":")
    if not colon:
        return  # auto, local
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"there is no Ray cluster at {address}: {error}",
            f"`ray start --head` begins one and says its address; without {ADDRESS}, one is "
            "started for the length of the command",
        ) from error


def _needs(
    rooms: Sequence[Mapping[str, float]], device: str, threads: int | None
) -> dict[str, int]:
    """What an actor asks for, of machines with these resources."""
    with_gpu = [room for room in rooms if room.get("GPU", 0) >= 1]
    if device != "cuda" and not (device == AUTO and with_gpu):
        return {"CPU": threads or 1}
    share = min((int(room.get("CPU", 1) // room["GPU"]) for room in with_gpu), default=1)
    return {"GPU": 1, "CPU": threads or max(1, share)}


def _room(rooms: Sequence[Mapping[str, float]], needs: Mapping[str, int]) -> int:
    """How many actors fit, if nobody else is there."""
    return sum(
        min(int(room.get(kind, 0) // count) for kind, count in needs.items()) for room in rooms
    )


def _reason(error: Exception) -> str:
    """The one line of Ray's message that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    because = [line for line in lines if "because" in line or "Error" in line]
    text = (because or lines or [type(error).__name__])[-1]
    return text.partition(". Some common causes")[0].rstrip(".")
