"""Generated stores are real ones, and the benchmarks on them run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from weaksup.store import open_store

ROOT = Path(__file__).parents[2]
WRITE = """
from pathlib import Path
from benchmarks.generated import Shape, make_captions, write_store
from trainer.config import SemanticsConfig
from trainer.data import TrainingData
from weaksup.store import open_store

shape = Shape(images=500, feature_size=256, annotated=50, classes=30, words=200, tested=10)
write_store(Path("regions.h5"), shape)
data = TrainingData.build(
    open_store("regions.h5"),
    *make_captions(shape),
    unannotated=True,
    semantics=SemanticsConfig(),
    min_count=2,
)
print(len(data.rows), data.annotated, len(data.gold_captions))
"""


def run(*words, cwd):
    command = [sys.executable, *words]
    return subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    ).stdout


@pytest.mark.slow
def test_a_generated_store_is_a_store_with_a_hole(tmp_path):
    assert run("-c", WRITE, cwd=tmp_path).split() == ["490", "50", "250"]
    path = tmp_path / "regions.h5"
    store = open_store(path)
    assert (len(store), store.feature_size, len(store.region_objects)) == (500, 256, 18_000)
    features = store.gather(np.arange(500)).features
    # The whole images differ, what was never written reads as zeros.
    assert len(np.unique(features[:, 0], axis=0)) == 500
    assert not features[:, 1:].any()
    assert store.region_classes.max() < 30
    assert path.stat().st_size > features.nbytes


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_memory_is_measured_stage_by_stage(tmp_path):
    options = ("--images=2", "--feature-size=16", "--classes=5", "--words=100")
    found = tmp_path / "found.json"
    run("-m", "benchmarks.memory", *options, "--stage=read", f"--json={found}", cwd=ROOT)
    lines = json.loads(found.read_text())
    assert [(line["images"], line["stage"]) for line in lines] == [
        (images, "read") for images in (2, 20, 200)
    ]
    assert all(0 < line["own"] < line["total"] for line in lines)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_for_a_gpu_is_sound_shell():
    subprocess.run(["bash", "-n", "benchmarks/gpu.sh"], check=True, cwd=ROOT)
