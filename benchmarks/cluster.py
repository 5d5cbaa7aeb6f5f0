"""Throughput of ``weaksup extract`` on Ray nodes with one processor each, and of local processes.

A cluster of one node and one of two run on this machine, each node bound to a processor of its own,
as local processes are that they are compared with. The time in which workers start is left out:
images are counted from when all have built their models. It needs Ray and two processors::

    python -m benchmarks.cluster ../shared/flickr8k/images ../shared/models/yolox_nano.onnx
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ray.cluster_utils import Cluster

from weaksup.detectors.build import DetectorOptions, ModelChoice
from weaksup.engines.crew import Event, Finished, Ready, Step
from weaksup.engines.deal import Dealer
from weaksup.engines.local import LocalCrew
from weaksup.engines.ray import ADDRESS, RayCrew
from weaksup.extract import plan_extraction
from weaksup.images import list_images

BATCH_SIZE = 8
SHARD = 16  # images; small, so that all workers are busy until shortly before the end
NODE = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}


class Clock:
    """Images a second from when ``workers`` are ready until the first has nothing left to do."""

    def __init__(self, workers: int, shards: int) -> None:
        self._workers, self._shards = workers, shards
        self._ready = self._finished = self._done = 0
        self._began = self._ended = 0.0

    def hear(self, events: Sequence[tuple[int, Event]]) -> None:
        for _, event in events:
            self._ready += isinstance(event, Ready)
            self._finished += isinstance(event, Finished)
            if self._ready == self._workers and not self._began:
                self._began = time.perf_counter()
            elif self._began and not self._ended and isinstance(event, Step) and event.done:
                self._done += BATCH_SIZE
            if self._finished == self._shards - self._workers + 1 and not self._ended:
                self._ended = time.perf_counter()

    @property
    def rate(self) -> float:
        return self._done / (self._ended - self._began)


class Timed:
    """Lets a clock hear what a crew does."""

    clock: Clock

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        events = super().wait(seconds)
        self.clock.hear(events)
        return events


class TimedLocal(Timed, LocalCrew):
    pass


class TimedRay(Timed, RayCrew):
    pass


@contextmanager
def bound_to(processors: Sequence[int]) -> Iterator[None]:
    """Processes that are started within run on these processors alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def cluster_on(processors: Sequence[int]) -> Iterator[None]:
    """A cluster with a node on each of these processors, where RAY_ADDRESS points."""
    with bound_to(processors[:1]):
        cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for processor in processors[1:]:
            with bound_to([processor]):
                cluster.add_node(**NODE)
        os.environ[ADDRESS] = cluster.address
        yield
    finally:
        os.environ.pop(ADDRESS, None)
        cluster.shutdown()


def measure(
    crew: TimedLocal | TimedRay, images: Sequence[tuple[str, Path]], folder: Path, *, workers: int
) -> float:
    """Images a second of ``workers`` workers of a crew that is timed."""
    shards = max(workers + 1, len(images) // SHARD)
    crew.clock = Clock(workers, shards)
    plan = partial(
        plan_extraction,
        images,
        out=folder,
        concepts=folder.with_suffix(".json"),
        concept_list=None,
        shards=shards,
        batch_size=BATCH_SIZE,
        overwrite=True,
    )
    with crew:
        Dealer(
            crew,
            plan,
            shards=shards,
            opened=lambda _: None,
            progress=lambda *at: None,
            notify=print,
        ).run()
    return crew.clock.rate


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("weights", help="ONNX detector")
    parser.add_argument("--count", type=int, default=600, help="images (600)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, all four in turns (3)")
    arguments = parser.parse_args()

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    images = [(name, path.absolute()) for name, path in list_images([arguments.images])]
    images = images[: arguments.count]
    models = ModelChoice("onnx", DetectorOptions(weights=arguments.weights, device="cpu"))
    processors = sorted(os.sched_getaffinity(0))[:2]
    rates: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "store")
        for _ in range(arguments.rounds):
            for workers in (1, 2):
                common = {"batch_size": BATCH_SIZE, "processes": workers, "threads": 1}
                with bound_to(processors[:workers]):
                    crew = TimedLocal(models, **common)
                    rate = measure(crew, images, folder, workers=workers)
                rates.setdefault(("local", workers), []).append(rate)
                with cluster_on(processors[:workers]):
                    crew = TimedRay(
                        models, images=[path for _, path in images], folder=folder, **common
                    )
                    rate = measure(crew, images, folder, workers=workers)
                rates.setdefault(("ray", workers), []).append(rate)

    load = " ".join(f"{part:.1f}" for part in os.getloadavg())
    print(f"{len(images)} images, median of {arguments.rounds} rounds; load at the end {load}")
    print("engine  workers  images/s  against one")
    for engine in ("local", "ray"):
        for workers in (1, 2):
            rate = statistics.median(rates[engine, workers])
            pairs = zip(rates[engine, workers], rates[engine, 1], strict=True)
            gain = statistics.median(a / b for a, b in pairs)
            print(f"{engine:6}  {workers:7}  {rate:8.1f}  {gain:10.2f}x")


if __name__ == "__main__":
    main()
