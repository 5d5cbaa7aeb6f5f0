"""The loss of docs/extending.md trains a model."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch

from trainer.build import Sizes, build_model
from trainer.checkpoint import Position
from trainer.data import BatchDataset
from trainer.device import make_accelerator
from trainer.loop import train_steps, warmup_cosine

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "sigmoid_objective.py"


def test_the_loss_falls(world, tiny):
    data = world.data()
    torch.manual_seed(0)
    model = build_model(tiny("vsepp"), Sizes.of(data))
    objective = runpy.run_path(str(EXAMPLE))["SigmoidObjective"]()
    optimizer = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=0.01)
    accelerator = make_accelerator(device="cpu", precision="fp32")
    steps = train_steps(
        model=model,
        objective=objective,
        optimizer=accelerator.prepare(optimizer),
        schedule=warmup_cosine(optimizer, steps=60, warmup=0.0),
        accelerator=accelerator,
        batches=lambda epoch: BatchDataset(
            data,
            seed=0,
            epoch=epoch,
            batch_size=5,
            unannotated_size=0,
            max_regions=4,
            word_drop=0.0,
            word_removal=0.0,
            concept_drop=0.0,
        ),
        position=Position(),
        epochs=20,
        grad_clip=0.0,
        workers=0,
    )
    losses = [step.figures["loss/sigmoid"] for step in steps]
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
