"""Writing scenes the way that people keep pictures with captions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.scenes.scene import generate_scene
from pipelines.scenes.types import Scene
from weaksup.types import TEST, TRAIN, VAL

# In a folder, at most; the next scene goes to a new one.
FOLDER_SIZE = 500
JPEG_QUALITY = 92


def _entry(name: Path, scene: Scene, *, number: int, split: str) -> dict[str, Any]:
    """One image in the style of Karpathy's caption files."""
    sentences = [
        {"raw": text, "tokens": text.replace(",", "").split(), "imgid": number}
        for text in scene.captions
    ]
    return {
        "filepath": name.parent.as_posix(),
        "filename": name.name,
        "imgid": number,
        "split": split,
        "sentences": sentences,
    }


def split_of(number: int, *, count: int) -> str:
    """The first 70 % of the scenes are train, the next 15 % val, the rest test."""
    if number < round(0.7 * count):
        return TRAIN
    return VAL if number < round(0.85 * count) else TEST


def write_scenes(folder: Path, *, count: int, seed: int) -> Path:
    """Generate ``count`` scenes into ``folder``.

    Scene ``i`` depends on ``(seed, i)`` alone. Pictures go to ``images/00/00000.jpg`` and on.

    Returns:
        The captions file, ``captions.json``, in Karpathy's format with splits; ``filepath`` is
        the picture's folder inside ``images``.
    """
    entries = [
        _entry(name, scene, number=number, split=split_of(number, count=count))
        for number, (name, scene) in enumerate(_pictures(folder / "images", count=count, seed=seed))
    ]
    captions = folder / "captions.json"
    captions.write_text(json.dumps({"dataset": "weaksup scenes", "images": entries}, indent=1))
    return captions


def write_folder(folder: Path, *, count: int, seed: int) -> Path:
    """Generate ``count`` scenes as somebody's own photographs: no splits, and a plain table.

    The pictures are those of :func:`write_scenes`, in ``photos``.

    Returns:
        The captions file, ``captions.csv``, with the columns ``image`` and ``caption``.
    """
    rows = [
        (name.as_posix(), text)
        for name, scene in _pictures(folder / "photos", count=count, seed=seed)
        for text in scene.captions
    ]
    captions = folder / "captions.csv"
    with captions.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "caption"))
        writer.writerows(rows)
    return captions


def _pictures(folder: Path, *, count: int, seed: int) -> Iterator[tuple[Path, Scene]]:
    """Write the pictures, one by one; their names inside the folder, and their scenes."""
    for number, child in enumerate(np.random.SeedSequence(seed).spawn(count)):
        scene = generate_scene(child)
        name = Path(f"{number // FOLDER_SIZE:02d}") / f"{number:05d}.jpg"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(path, quality=JPEG_QUALITY)
        yield name, scene
