"""A small generated world to train on: a region store, captions in all splits, annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainer.config import SemanticsConfig, TrainConfig, load_config
from trainer.data import TrainingData
from trainer.distributed import ALONE
from trainer.distributed import World as Processes
from trainer.evidence import sources
from trainer.inputs import RegionInputs
from trainer.run import RunDescription
from trainer.text import TokenBatch, pad
from trainer.train import Plan, TrainingResult, run_fingerprint, train
from weaksup.corpora import match_ids, read_corpus
from weaksup.store import RegionStore, StoreItem, open_store, write_store
from weaksup.types import (
    STATUS_OK,
    STATUS_UNREADABLE,
    Annotations,
    Corpus,
    Float32,
    Int32,
    Provenance,
    Regions,
)

FEATURES = 6
OBJECTS = ["car", "cat", "dog", "heldout thing", "man", "traffic light"]
ATTRIBUTES = ["blue", "heldoutish", "red"]
HELD_OUT_OBJECT, HELD_OUT_ATTRIBUTE = 3, 1
# Every setting that costs time is small, every one that draws random numbers is on.
TINY = {
    "epochs": "2",
    "batch_size": "3",
    "embed_size": "8",
    "word_size": "6",
    "heads": "2",
    "lr": "0.01",
    "device": "cpu",
    "min_count": "1",
    "max_regions": "4",
    "cca.image_components": "6",
    "cca.text_components": "8",
    "cca.directions": "4",
}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Row:
    """One image of the world: ``part`` is annotated, unannotated, val or test."""

    id: str
    part: str
    features: Float32
    objects: Int32
    attributes: Int32
    captions: tuple[str, ...]
    kept: tuple[int, ...] = ()
    readable: bool = True


def _rows() -> list[Row]:
    generator = np.random.default_rng(7)
    parts = [("annotated", 7), ("unannotated", 9), ("val", 4), ("test", 4)]
    rows = []
    for part, count in parts:
        held_out = part in ("val", "test")
        for number in range(count):
            size = 1 + int(generator.integers(1, 5))
            known = [o for o in range(len(OBJECTS)) if o != HELD_OUT_OBJECT]
            objects = generator.choice(known, size).astype(np.int32)
            attributes = generator.choice([-1, 0, 2], (size, 1)).astype(np.int32)
            objects[0], attributes[0] = -1, -1
            if held_out:
                objects[-1], attributes[-1] = HELD_OUT_OBJECT, HELD_OUT_ATTRIBUTE
            features = generator.normal(size=(size, FEATURES)).astype(np.float32)
            names = " and a ".join(OBJECTS[o] for o in objects[1:] if o != HELD_OUT_OBJECT)
            marker = "kept" if part == "annotated" else f"{part}marker"
            captions = tuple(
                f"A {names or 'scene'}, {marker}{text} {word}{number}."
                for text, word in enumerate(("first", "second", "third"))
            )
            if part == "annotated":  # the third caption is not kept, so its words are marked
                captions = (*captions[:2], f"droppedmarker {number}")
            kept = ((0, 1) if number % 2 else (1,)) if part == "annotated" else ()
            rows.append(
                Row(f"{part}/{number}.jpg", part, features, objects, attributes, captions, kept)
            )
    # In the store the parts are mixed, so that a row is not its position.
    return [rows[place] for place in generator.permutation(len(rows))]


@dataclass(frozen=True)
class World:
    """What ``train`` reads, and how to change it."""

    folder: Path
    rows: tuple[Row, ...] = field(default_factory=lambda: tuple(_rows()))

    def change(self, part: str, **changes: Callable[[Row], Any]) -> World:
        """The same world in another folder, where the images of a part are other ones."""

        def changed(row: Row) -> Row:
            if row.part != part:
                return row
            return replace(row, **{name: make(row) for name, make in changes.items()})

        number = len(list(self.folder.parent.iterdir()))
        folder = self.folder.parent / f"world-{number}"
        folder.mkdir()
        return World(folder, tuple(changed(row) for row in self.rows))

    def ids(self, *parts: str) -> set[str]:
        return {row.id for row in self.rows if row.part in parts}

    def store(self) -> RegionStore:
        path = self.folder / "regions.h5"
        if not path.exists():
            write_store(
                path,
                [_item(row) for row in self.rows],
                ids=[row.id for row in self.rows],
                feature_size=FEATURES,
                attribute_slots=1,
                objects=OBJECTS,
                attributes=ATTRIBUTES,
                provenance=Provenance("test", "0" * 64, {}),
            )
        return open_store(path)

    def captions(self) -> Path:
        path = self.folder / "captions.csv"
        lines = [
            f'{row.id},"{caption}",{row.part if row.part in ("val", "test") else "train"}\n'
            for row in self.rows
            for caption in row.captions
        ]
        path.write_text("image,caption,split\n" + "".join(lines))
        return path

    def corpus(self) -> Corpus:
        return match_ids(read_corpus(self.captions()), [row.id for row in self.rows])

    def annotations(self) -> Annotations:
        def of(part: str) -> list[Row]:
            return sorted((r for r in self.rows if r.part == part), key=lambda row: row.id)

        return Annotations(
            ratio=0.4,
            unit="image",
            strategy="random",
            seed=0,
            captions="captions.csv",
            fingerprint=self.corpus().fingerprint,
            annotated=tuple(row.id for row in of("annotated")),
            unannotated=tuple(row.id for row in of("unannotated")),
            captions_kept={row.id: row.kept for row in of("annotated")},
        )

    def data(self, *, unannotated: bool = True, attributes: bool = False) -> TrainingData:
        return TrainingData.build(
            self.store(),
            self.corpus(),
            self.annotations(),
            unannotated=unannotated,
            semantics=SemanticsConfig(attributes=attributes),
            min_count=1,
        )

    def fingerprint(self, config: TrainConfig) -> dict[str, str]:
        return run_fingerprint(config, self.store(), self.corpus(), self.annotations())

    def train(
        self,
        config: TrainConfig,
        folder: Path,
        *,
        resume: bool = False,
        make_logger: Callable[[Plan], Any] | None = None,
        processes: Processes = ALONE,
    ) -> TrainingResult:
        store = self.store()
        return train(
            config=config,
            store=store,
            corpus=self.corpus(),
            annotations=self.annotations(),
            description=RunDescription(
                config=config,
                regions=store.path,
                captions=self.captions(),
                annotations=self.folder / "annotations.json",
                provenance=store.provenance,
                fingerprint=store.fingerprint,
                feature_size=store.feature_size,
                sources=sources(store),
            ),
            folder=folder,
            resume=resume,
            make_logger=make_logger or (lambda plan: Silent()),
            world=processes,
        )

    @staticmethod
    def learnt(folder: Path) -> dict[str, bytes]:
        """What training learnt, byte by byte; ``config.json`` has paths in it."""
        return {
            name: (folder / name).read_bytes() for name in ("model.safetensors", "vocabulary.json")
        }


def _item(row: Row) -> StoreItem:
    if not row.readable:
        return StoreItem((0, 0), STATUS_UNREADABLE, None, "truncated")
    size = len(row.features)
    corner = np.linspace(0, 0.5, size, dtype=np.float32)
    boxes = np.stack([corner, corner / 2, 1 - corner, np.ones_like(corner)], axis=1)
    scores = np.linspace(1, 0.3, size, dtype=np.float32)
    return StoreItem(
        (4, 4), STATUS_OK, Regions(boxes, row.features, scores, row.objects, row.attributes)
    )


class Silent:
    """A logger of nothing."""

    def log(self, event: Any) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "worlds" / "world-0"
    folder.mkdir(parents=True)
    return World(folder)


@pytest.fixture
def tiny() -> Callable[..., TrainConfig]:
    """A configuration of a model with tiny sizes; dots of a setting are written ``__``."""

    def make(model: str = "a3vse", **settings: Any) -> TrainConfig:
        given = {
            name.replace("__", "."): str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in settings.items()
        }
        return load_config(model=model, file=None, overrides={**TINY, **given})

    return make


@pytest.fixture
def make_regions() -> Callable[..., RegionInputs]:
    """Random regions: one number of regions an image, and rows of padding beyond the longest.

    Padding holds rubbish in features and boxes: only the mask says what counts.
    """

    def make(*counts: int, padding: int = 0, rubbish: float = 0.0, seed: int = 0) -> RegionInputs:
        generator = torch.Generator().manual_seed(seed)
        length = max(counts) + padding
        features = torch.full((len(counts), length, FEATURES), rubbish)
        boxes = torch.full((len(counts), length, 4), rubbish)
        mask = torch.zeros(len(counts), length, dtype=torch.bool)
        for row, count in enumerate(counts):
            features[row, :count] = torch.randn(count, FEATURES, generator=generator)
            boxes[row, :count] = torch.rand(count, 4, generator=generator).sort(-1).values
            mask[row, :count] = True
        return RegionInputs(features, boxes, mask)

    return make


@pytest.fixture
def grow_tokens() -> Callable[[TokenBatch, int], TokenBatch]:
    """The same sentences with more padding."""

    def grow(tokens: TokenBatch, padding: int) -> TokenBatch:
        return TokenBatch(torch.nn.functional.pad(tokens.ids, (0, padding)), tokens.lengths)

    return grow


@pytest.fixture
def sentences() -> TokenBatch:
    return pad([[2, 3, 4, 5], [6], [7, 2, 3], [3, 3]])
