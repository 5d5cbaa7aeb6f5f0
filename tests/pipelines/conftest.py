"""A small world to compare models in: combinations of three factors, which captions name."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.compare.data import ComparisonData, Source
from weaksup.cli import main
from weaksup.store import StoreItem, write_store
from weaksup.types import STATUS_OK, STATUS_UNREADABLE, Provenance, Regions

COMPARISON = """
models = ["cca", "a3vse"]
ratios = [0.5, 1.0]
seeds = [0, 1]
hold_out = 5
[[variant]]
label = "a3vse, no adversary"
model = "a3vse"
ratios = [0.5]
set.w_adv = 0
"""
WORDS = (("dark", "sunny"), ("cat", "dog"), ("blue", "red"))
PARTS = {"train": 24, "val": 6, "test": 5, "uncaptioned": 4}
UNREADABLE = "test/0.jpg"

# Every setting that costs time is small.
TINY = """
[set]
epochs = 1
batch_size = 4
embed_size = 8
text.word_size = 6
text.min_count = 1
regions.heads = 2
device = "cpu"
cca = {image_components = 6, text_components = 8, directions = 4}
fusion.concept_size = 8
"""


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


def _ids(part: str) -> list[str]:
    return [f"{part}/{number}.jpg" for number in range(PARTS[part])]


def _item(name: str) -> StoreItem:
    if name == UNREADABLE:
        return StoreItem((0, 0), STATUS_UNREADABLE, None, "truncated")
    factors = _factors(name)
    noise = np.random.default_rng(list(name.encode())).normal(scale=0.8, size=(2, 5))
    features = (np.array([[*factors, 0, 1]] * 2) + noise).astype(np.float32)
    boxes = np.array([[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]], dtype=np.float32)
    objects = np.array([-1, factors[1]], dtype=np.int32)
    regions = Regions(
        boxes, features, np.array([1, 0.5], np.float32), objects, np.zeros((2, 0), np.int32)
    )
    return StoreItem((4, 4), STATUS_OK, regions)


def _factors(name: str) -> list[int]:
    number = int(Path(name).stem)
    return [number >> factor & 1 for factor in range(3)]


@dataclass(frozen=True)
class World:
    """A store, captions and a workspace in one folder."""

    folder: Path

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def regions(self) -> Path:
        path = self.workspace / "regions.h5"
        if not path.exists():
            path.parent.mkdir(parents=True)
            ids = [name for part in PARTS for name in _ids(part)]
            write_store(
                path,
                [_item(name) for name in ids],
                ids=ids,
                feature_size=5,
                attribute_slots=0,
                objects=["cat", "dog"],
                attributes=[],
                provenance=Provenance("test", "0" * 64, {}),
            )
        return path

    def captions(
        self, *, parts: tuple[str, ...] = ("train", "val", "test"), says: Mapping[str, str] = {}
    ) -> Path:
        """Two captions an image; ``says`` replaces both of an image."""
        path = self.folder / f"captions-{len(list(self.folder.glob('captions-*')))}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["image", "caption", "split"])
            for part in parts:
                for name in _ids(part):
                    words = [WORDS[place][value] for place, value in enumerate(_factors(name))]
                    for caption in (" ".join(words), f"a {words[1]} and {words[0]}"):
                        rows.writerow([name, says.get(name, caption), part])
        return path

    def data(self, captions: Path, *, hold_out: int = 0, split: str = "test") -> ComparisonData:
        return ComparisonData.load(Source(self.regions, captions, hold_out, split))

    def config(self, text: str, *, name: str = "small.toml") -> Path:
        path = self.folder / name
        path.write_text(text + TINY, encoding="utf-8")
        return path

    def results(self, name: str = "small") -> list[dict[str, Any]]:
        lines = (self.reports(name) / "results.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def reports(self, name: str = "small") -> Path:
        return self.workspace / "reports" / "compare" / name

    def figures(self, name: str = "small") -> list[dict[str, Any]]:
        """Results without what depends on how a comparison was run."""
        varying = ("seconds", "steps_per_second")
        return [{k: v for k, v in r.items() if k not in varying} for r in self.results(name)]

    def stamps(self, folder: str = ".") -> dict[Path, int]:
        """When each file under a folder of the reports was written, in ns."""
        files = (path for path in (self.reports() / folder).rglob("*") if path.is_file())
        return {path: path.stat().st_mtime_ns for path in files}

    def command(self, config: Path, captions: Path, *words: object) -> list[str]:
        """What runs a comparison in a process of its own."""
        call = (
            *(sys.executable, "-m", "pipelines.compare", config, "--workspace", self.workspace),
            *("--regions", self.regions, "--captions", captions, *words),
        )
        return [str(word) for word in call]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def compare(
    world: World, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``weaksup compare``: exit code, stdout, stderr."""

    def call(*words: object, captions: Path | None = None) -> tuple[int, str, str]:
        file = captions or world.captions()
        place = ["--regions", world.regions, "--captions", file, "--workspace", world.workspace]
        with pytest.raises(SystemExit) as end:
            main(["compare", *map(str, (*words, *place))])
        return (int(end.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A comparison that is done, in a process of its own: its folder and what was printed."""
    world = World(tmp_path_factory.mktemp("finished"))
    command = world.command(world.config(COMPARISON), world.captions())
    # One thread, as each of two processes has in the tests: others would round otherwise.
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    end = subprocess.run(command, capture_output=True, text=True, env=alone)
    assert end.returncode == 0, end.stderr
    return world.folder, end.stdout, end.stderr


@pytest.fixture
def done(finished: tuple[Path, str, str], world: World) -> tuple[Path, Path, str, str]:
    """A copy of it: the file, the captions, and what was printed."""
    folder, out, err = finished
    shutil.copytree(folder, world.folder, dirs_exist_ok=True)
    out = out.replace(str(folder), str(world.folder))
    return world.folder / "small.toml", world.folder / "captions-0.csv", out, err


@pytest.fixture
def asked(world: World) -> tuple[Path, Path]:
    """The same file and captions, with nothing done."""
    return world.config(COMPARISON), world.captions()
