"""The engine ``ray`` on real clusters of two nodes, with workers and a node that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch

from weaksup.cli import main
from weaksup.detectors.build import DetectorOptions, ModelChoice
from weaksup.engines.crew import Step
from weaksup.engines.ray import RayCrew, _needs, _room
from weaksup.images import list_images

ROOM = {"include_dashboard": False, "object_store_memory": 80 << 20}


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes with one processor each; where RAY_ADDRESS points."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **ROOM})
    try:
        cluster.add_node(num_cpus=1, **ROOM)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    finally:
        cluster.shutdown()


class KillingOnce(RayCrew):
    """Kills the first worker that says that one image is committed."""

    killed = False

    def start(self):
        number = super().start()
        call = self._actors[number].__ray_call__
        self.pids = {**getattr(self, "pids", {}), number: call.remote(lambda actor: os.getpid())}
        return number

    def wait(self, seconds):
        events = super().wait(seconds)
        for worker, event in events:
            if event == Step(1) and not self.killed:
                self.killed = True
                os.kill(self._ray.get(self.pids[worker]), signal.SIGKILL)
        return events


@pytest.fixture
def crew(photos, tmp_path):
    def make(kind, models):
        images = [path for _, path in list_images([photos])]
        return kind(models, images=images, folder=tmp_path / "dealt", batch_size=1)

    return make


@pytest.fixture
def one_thread():
    """Torch as an actor with one processor has it: it rounds by the number of its threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_cluster_writes_what_one_process_writes_though_workers_and_a_node_die(
    cluster, crew, deal, extract, contents, models, alone, tmp_path
):
    demo = ModelChoice("demo", DetectorOptions(device="cpu"))
    told = []
    report = deal(crew(KillingOnce, demo), "dealt", shards=4, notify=told.append)
    assert contents(report.store) == contents(extract(demo, "demo.h5").store)
    assert [text for text in told if "died" in text]

    # Without its node, a worker dies too; it may take a while until it gives up its file.
    node = next(node for node in cluster.worker_nodes)
    gone = []

    def remove(done, total, fresh):
        if not gone:
            gone.append(node)
            cluster.remove_node(node, allow_graceful=False)

    report = extract(models, "store", shards=4, engine="ray", progress=remove, notify=told.append)
    assert gone
    assert contents(report.store) == alone
    assert not list((tmp_path / "store").glob(".*"))


@pytest.mark.slow
def test_without_an_address_it_runs_on_a_ray_of_its_own(
    photos, tiny_detector, contents, alone, tmp_path
):
    options = ["--detector", "onnx", "--weights", tiny_detector, "--batch-size", 1]
    where = ["--shards", 2, "--processes", 1, "--engine", "ray", "--out", tmp_path / "store"]
    words = ["extract", "--images", photos, *options, *where, "--workspace", tmp_path / "space"]
    ended = subprocess.run(
        [sys.executable, "-m", "weaksup.cli", *map(str, words)],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert contents(tmp_path / "store") == alone
    assert ended.stdout.startswith("images: 11")
    assert "next: weaksup subsample" in ended.stdout
    assert "ray" not in ended.stderr.lower()


@pytest.fixture
def run(photos, tiny_detector, tmp_path, capsys):
    def call():
        words = ["extract", "--images", photos, "--detector", "onnx", "--weights", tiny_detector]
        with pytest.raises(SystemExit) as end:
            main([*map(str, words), "--engine", "ray", "--workspace", str(tmp_path / "space")])
        return end.value.code, capsys.readouterr().err

    return call


def test_without_ray_it_says_what_to_install(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, err = run()
    assert code == 4
    assert "pip install 'weaksup[ray]'" in err
    assert not (tmp_path / "space").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1"), ("ray://there:10001", "Ray's client")],
)
def test_an_address_that_is_no_cluster(run, monkeypatch, address, message):
    monkeypatch.setenv("RAY_ADDRESS", address)
    code, err = run()
    assert code == 2
    assert message in err


GPU_MACHINES = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 7.0, "GPU": 2.0}, {"CPU": 8.0}]


@pytest.mark.parametrize(
    ("rooms", "device", "threads", "needs", "room"),
    [
        ([{"CPU": 3.0}, {"CPU": 1.0}], "auto", None, {"CPU": 1}, 4),
        ([{"CPU": 3.0}, {"CPU": 1.0}], "auto", 2, {"CPU": 2}, 1),
        ([{"CPU": 3.0}], "cuda", None, {"GPU": 1, "CPU": 1}, 0),
        (GPU_MACHINES, "auto", None, {"GPU": 1, "CPU": 3}, 6),
        (GPU_MACHINES, "cuda", 5, {"GPU": 1, "CPU": 5}, 4),
        (GPU_MACHINES, "cpu", None, {"CPU": 1}, 31),
    ],
)
def test_what_actors_ask_for_and_how_many_fit(rooms, device, threads, needs, room):
    assert _needs(rooms, device, threads) == needs
    assert _room(rooms, needs) == room
