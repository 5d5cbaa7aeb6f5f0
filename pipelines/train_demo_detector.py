"""Train the demo's detector on generated scenes and write it into the package.

    python -m pipelines.train_demo_detector

writes ``weaksup/detectors/demo.safetensors`` and ``demo.json`` and prints mAP@50 on scenes that
were not trained on. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pipelines.average_precision import Boxes, mean_average_precision
from pipelines.scenes import FORMATS, KINDS, Scene, generate_scene
from weaksup.detectors.base import Detector
from weaksup.detectors.demo import (
    FOLDER,
    LABELS,
    WEIGHTS,
    build_demo_model,
    load_demo_detector,
)
from weaksup.types import Image

# The first words of the seeds: training and measuring never see the same scene.
TRAINING, MEASURING = 1, 2

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        steps: batches in all; every scene is seen once.
        batch_size: scenes a batch.
        learning_rate: the peak of the one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        max_norm: gradients are clipped to this norm.
        seed: of the weights and the scenes.
    """

    steps: int = 2500
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    max_norm: float = 5.0
    seed: int = 0


class SceneBatches(Dataset[Batch]):
    """Batch ``i`` depends on the seed and ``i`` alone; its scenes are all of one format."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __len__(self) -> int:
        return self._settings.steps

    def __getitem__(self, index: int) -> Batch:
        seed = np.random.SeedSequence((TRAINING, self._settings.seed, index))
        children = seed.spawn(self._settings.batch_size)
        size = FORMATS[index % len(FORMATS)]
        scenes = [generate_scene(child, size=size) for child in children]
        return [as_tensor(scene) for scene in scenes], [target(scene) for scene in scenes]


def as_tensor(scene: Scene) -> Tensor:
    """The picture as (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(scene.image.transpose(2, 0, 1).copy()).float() / 255


def target(scene: Scene) -> dict[str, Tensor]:
    """Boxes (M, 4) float32 in pixels and labels (M,) int64, 0 being the background."""
    return {
        "boxes": torch.tensor([thing.box for thing in scene.objects], dtype=torch.float32),
        "labels": torch.tensor([KINDS.index(thing.kind) + 1 for thing in scene.objects]),
    }


def train(model: nn.Module, settings: Settings) -> Iterator[tuple[int, dict[str, float]]]:
    """Train ``model`` in place; yields the step and its named losses.

    Raises:
        FloatingPointError: if a loss is not finite.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    # One process beside this one draws the scenes.
    batches = DataLoader(SceneBatches(settings), batch_size=None, num_workers=1, prefetch_factor=4)
    model.train()
    for step, (images, targets) in enumerate(batches, start=1):
        losses: dict[str, Tensor] = model(images, targets)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss is not finite at step {step}: {losses}")
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.max_norm)
        optimizer.step()
        schedule.step()
        yield step, {name: float(loss.detach()) for name, loss in losses.items()}


def save(model: nn.Module, folder: Path, *, labels: Sequence[str]) -> None:
    """Write the weights (float16, to keep the package small) and the labels."""
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(state))
    (folder / LABELS).write_text(json.dumps({"objects": list(labels)}, indent=1) + "\n")


def measure(detector: Detector, *, scenes: int, seed: int = 0) -> float:
    """mAP@50 of ``detector`` on scenes that no training saw, in [0, 1]."""
    found, true = [], []
    for child in np.random.SeedSequence((MEASURING, seed)).spawn(scenes):
        scene = generate_scene(child)
        height, width = scene.image.shape[:2]
        (seen,) = detector.detect([Image(id="scene", pixels=scene.image, size=(height, width))])
        # The first region is the whole image.
        found.append(Boxes(seen.boxes[1:], seen.objects[1:], seen.scores[1:]))
        true.append(
            Boxes(
                np.array([thing.box for thing in scene.objects], dtype=np.float32),
                np.array([detector.objects.index(thing.kind) for thing in scene.objects]),
                np.ones(len(scene.objects), dtype=np.float32),
            )
        )
    return mean_average_precision(found, true, labels=len(detector.objects))


def main() -> None:
    """Train, write, read back and measure."""
    parser = argparse.ArgumentParser(description="Train the demo's detector.")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--threads", type=int, default=1, help="of torch; one more draws scenes")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = Settings(steps=arguments.steps, seed=arguments.seed)
    torch.manual_seed(settings.seed)
    model = build_demo_model(KINDS)
    start = time.monotonic()
    for step, losses in train(model, settings):
        if step % 50 == 0:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
            print(f"step {step}  {time.monotonic() - start:.0f} s  {shown}", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save(model, arguments.out, labels=KINDS)
    detector = load_demo_detector(folder=arguments.out)
    print(f"mAP@50 on 500 fresh scenes: {measure(detector, scenes=500):.4f}")


if __name__ == "__main__":
    main()
