"""A workspace to train in: pictures of four factors, which captions name.

Whoever has seen the factors apart can tell all 16 combinations, so that the figures that an
evaluation must find are known.
"""

from __future__ import annotations

import csv
import ctypes
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from weaksup.corpora import read_corpus, write_annotations
from weaksup.store import StoreItem, write_store
from weaksup.types import STATUS_OK, STATUS_UNREADABLE, Annotations, Provenance, Regions

WORDS = (("dark", "sunny"), ("cat", "dog"), ("blue", "red"), ("small", "big"))
TRAINING = range(16)  # every combination once
VAL = {16: 0b0000, 17: 0b1111, 18: 0b0101, 19: 0b1010}
TEST = {20: 0b0001, 21: 0b0110, 22: 0b1011, 23: 0b1100, 24: 0b1110}
COMBINATIONS = {**{number: number for number in TRAINING}, **VAL, **TEST}
UNREADABLE = 24


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


class Pictures:
    """Writes the files of the workspace, and others of the same kind."""

    training, val, test = tuple(TRAINING), tuple(VAL), tuple(TEST)

    @staticmethod
    def name(number: int) -> str:
        return f"photos/{number:02}.jpg"

    def splits(self) -> dict[int, str]:
        return {
            **dict.fromkeys(self.training, "train"),
            **dict.fromkeys(self.val, "val"),
            **dict.fromkeys(self.test, "test"),
        }

    def regions(self, path: Path, *, detector: str = "demo", without: int | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = [number for number in COMBINATIONS if number != without]
        return write_store(
            path,
            [_item(number) for number in numbers],
            ids=[self.name(number) for number in numbers],
            feature_size=4,
            attribute_slots=0,
            objects=["cat", "dog"],
            attributes=[],
            provenance=Provenance(detector, "0" * 64, {}),
        )

    def captions(
        self, path: Path, splits: Mapping[int, str], *, says: Mapping[int, int] | None = None
    ) -> Path:
        """Two captions an image; ``says`` gives images the captions of another one."""
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["image", "caption", "split"])
            for number, split in splits.items():
                words = _words(COMBINATIONS[(says or {}).get(number, number)])
                for caption in (words, words[::-1]):
                    rows.writerow([self.name(number), " ".join(caption), split])
        return path

    def annotations(self, path: Path, captions: Path, annotated: Iterable[int]) -> Path:
        known = set(annotated)
        write_annotations(
            path,
            Annotations(
                ratio=len(known) / len(self.training),
                unit="image",
                strategy="random",
                seed=0,
                captions=str(captions),
                fingerprint=read_corpus(captions).fingerprint,
                annotated=tuple(self.name(n) for n in self.training if n in known),
                unannotated=tuple(self.name(n) for n in self.training if n not in known),
                captions_kept={self.name(n): (0, 1) for n in self.training if n in known},
            ),
        )
        return path


_DROP_BOUND, _OVERRIDE_PERMISSIONS = 24, 1  # of Linux: PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


def _obey_permissions() -> None:
    """Let permissions hold for an administrator, too; nobody else needs it, or may do it."""
    ctypes.CDLL(None).prctl(_DROP_BOUND, _OVERRIDE_PERMISSIONS, 0, 0, 0)


@pytest.fixture
def only_reading() -> Callable[..., subprocess.CompletedProcess[str]]:
    """A command in a process of its own, for which permissions hold."""
    if sys.platform != "linux":
        pytest.skip("the right to write anywhere is dropped by a call of Linux's")

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "weaksup.cli", *words],
            preexec_fn=_obey_permissions,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def _factors(combination: int) -> list[int]:
    return [combination >> factor & 1 for factor in range(4)]


def _words(combination: int) -> list[str]:
    return [WORDS[factor][value] for factor, value in enumerate(_factors(combination))]


def _item(number: int) -> StoreItem:
    if number == UNREADABLE:
        return StoreItem((0, 0), STATUS_UNREADABLE, None, "truncated")
    factors = _factors(COMBINATIONS[number])
    features = np.array([factors, factors], dtype=np.float32)
    boxes = np.array([[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]], dtype=np.float32)
    scores = np.array([1, 0.5], dtype=np.float32)
    objects = np.array([-1, factors[1]], dtype=np.int32)
    return StoreItem(
        (4, 4),
        STATUS_OK,
        Regions(boxes, features, scores, objects, np.zeros((2, 0), np.int32)),
    )


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Pictures) -> Path:
    """A workspace with regions, captions and annotations of every second image; no run yet."""
    folder = tmp_path / "workspace"
    pictures.regions(folder / "regions.h5")
    captions = pictures.captions(tmp_path / "captions.csv", pictures.splits())
    pictures.annotations(folder / "annotations.json", captions, (0, 3, 5, 6, 9, 10, 12, 15))
    (folder / "workspace.toml").write_text(f'images = []\ncaptions = "{captions}"\n')
    monkeypatch.setenv("WEAKSUP_WORKSPACE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder
