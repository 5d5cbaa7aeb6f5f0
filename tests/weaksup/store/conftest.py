"""Random stores, and a naive reading of a store file to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from weaksup.store import StoreItem, write_store
from weaksup.types import (
    STATUS_NO_REGION,
    STATUS_OK,
    STATUS_UNREADABLE,
    Provenance,
    Regions,
)

GROUP_SIZE = 4


@dataclass(frozen=True)
class Example:
    """Items, and all arguments that ``RegionWriter.open`` takes besides the path."""

    items: list[StoreItem]
    arguments: dict[str, Any]

    @property
    def ids(self) -> list[str]:
        ids: list[str] = self.arguments["ids"]
        return ids

    def part(self, positions: range) -> Example:
        """The images at ``positions`` alone, as a shard has them."""
        chosen = slice(positions.start, positions.stop)
        return Example(self.items[chosen], {**self.arguments, "ids": self.ids[chosen]})

    def write(self, path: Path, **changes: Any) -> Path:
        return write_store(path, self.items, **{**self.arguments, **changes})


CLASSES = ["tench", "crane", "crane", "Border collie"]


def random_regions(
    generator: np.random.Generator,
    *,
    count: int,
    feature_size: int,
    slots: int,
    class_slots: int = 0,
) -> Regions:
    """``count`` regions with 5 object, 3 attribute and, if there are slots, 4 class names."""
    regions = Regions(
        boxes=generator.random((count, 4), dtype=np.float32),
        features=generator.normal(size=(count, feature_size)).astype(np.float32),
        scores=generator.random(count, dtype=np.float32),
        objects=generator.integers(-1, 5, count, dtype=np.int32),
        attributes=generator.integers(-1, 3, (count, slots), dtype=np.int32),
    )
    if not class_slots:
        return regions
    return replace(
        regions,
        classes=generator.integers(-1, len(CLASSES), (count, class_slots), dtype=np.int32),
        class_scores=generator.random((count, class_slots), dtype=np.float32),
    )


@pytest.fixture(scope="session")
def make_example() -> Callable[..., Example]:
    """A random example: by default ragged, with an unreadable image in every seven."""

    def make(
        images: int = 10,
        *,
        seed: int = 0,
        feature_size: int = 6,
        slots: int = 2,
        class_slots: int = 0,
        counts: list[int] | None = None,
    ) -> Example:
        generator = np.random.default_rng(seed)
        if counts is None:
            counts = [0 if number % 7 == 3 else 1 + number * 5 % 4 for number in range(images)]
        items = []
        for number, count in enumerate(counts):
            if count == 0:
                items.append(StoreItem((0, 0), STATUS_UNREADABLE, None, f"reason {number}"))
                continue
            regions = random_regions(
                generator,
                count=count,
                feature_size=feature_size,
                slots=slots,
                class_slots=class_slots,
            )
            status = STATUS_NO_REGION if count == 1 else STATUS_OK
            items.append(StoreItem((300 + number, 400), status, regions))
        arguments = {
            "ids": [f"folder/{number:02d}.é.jpg" for number in range(len(counts))],
            "feature_size": feature_size,
            "attribute_slots": slots,
            "objects": ["person", "dog", "traffic light", "tree", "naïveté"],
            "attributes": ["red", "small", "left"],
            "provenance": Provenance("onnx:test", "ab" * 32, {"score": 0.2, "size": [4, 4]}),
            "group_size": GROUP_SIZE,
        }
        if class_slots:
            arguments |= {
                "class_slots": class_slots,
                "classes": CLASSES,
                "object_words": [["person"], ["dog", "canine"], ["light"], [], ["naïveté"]],
                "class_words": [["tench", "fish"], ["crane"], ["crane", "bird"], ["collie", "dog"]],
            }
        return Example(items, arguments)

    return make


@pytest.fixture
def example(make_example: Callable[..., Example]) -> Example:
    return make_example()


@pytest.fixture
def store_file(example: Example, tmp_path: Path) -> Path:
    """The complete store of ``example``."""
    return example.write(tmp_path / "regions.h5")


@pytest.fixture(scope="session")
def datasets() -> Callable[[Path], dict[str, bytes]]:
    """All datasets of an HDF5 file by name: dtype, shape and content as bytes."""

    def read(path: Path) -> dict[str, bytes]:
        found: dict[str, bytes] = {}

        def visit(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset):
                values = node[()]
                content = (
                    repr(values.tolist()).encode() if node.dtype == object else values.tobytes()
                )
                found[name] = f"{node.dtype} {node.shape} ".encode() + content

        with h5py.File(path, "r") as file:
            file.visititems(visit)
        return found

    return read
