"""The training loop: a generator. It knows no loss, writes no file and prints nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Sampler

from trainer.checkpoint import Position
from trainer.data import ENCODING, Batch, BatchDataset
from trainer.distributed import ALONE, World
from trainer.interrupt import ignore_interruptions
from trainer.models.base import RetrievalModel
from trainer.objectives import Losses, Objective, Progress
from weaksup.errors import UserError


class DivergedError(UserError):
    """A loss is not finite, by the settings or by features of a damaged store."""

    exit_code = 2


@dataclass(frozen=True)
class Step:
    """One optimizer step that was done.

    Attributes:
        epoch: counted from 0.
        step: in the epoch, counted from 0.
        steps: of an epoch.
        images: read in this step.
        figures: losses by name (a mean over pairs, also where their sum is minimised), all of them
            together, discriminator accuracies, learning rate, gradient norm.
        last: whether the epoch ends with it.
        waited: seconds for which it waited for its batch; that is the whole reading without
            workers.
    """

    epoch: int
    step: int
    steps: int
    images: int
    figures: dict[str, float]
    last: bool
    waited: float


class _From(Sampler[int]):
    """The steps of an epoch from a given one on."""

    def __init__(self, start: int, stop: int) -> None:
        self.steps = range(start, stop)

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def warmup_cosine(optimizer: Optimizer, *, steps: int, warmup: float) -> LambdaLR:
    """A linear rise over the first ``warmup`` share of the steps, then half a cosine to 0."""
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return LambdaLR(optimizer, factor)


def train_steps(
    *,
    model: RetrievalModel,
    objective: Objective,
    optimizer: Optimizer,
    schedule: LambdaLR,
    accelerator: Accelerator,
    batches: Callable[[int], BatchDataset],
    position: Position,
    epochs: int,
    grad_clip: float,
    workers: int,
    world: World = ALONE,
) -> Iterator[Step]:
    """Train from ``position`` on, and yield after every step.

    The caller may validate, save or stop between two steps; ``position`` is kept up to date, so
    that what it saves with it resumes exactly there.

    Args:
        model: in training mode whenever a step is taken.
        objective: its parameters are trained with the model's.
        optimizer: of both.
        schedule: stepped once a step.
        accelerator: device and mixed precision.
        batches: the batches of an epoch.
        position: where to start; changed in place.
        epochs: in all.
        grad_clip: largest norm of the gradient; 0 for no limit.
        workers: processes that read batches ahead; 0 reads them here.
        world: the processes that train this run; every one takes these steps.

    Raises:
        DivergedError: if a loss is not finite.
    """
    device = accelerator.device
    for epoch in range(position.epoch, epochs):
        dataset = batches(epoch)
        loader: DataLoader[Batch] = DataLoader(
            dataset,
            batch_size=None,
            sampler=_From(position.step, len(dataset)),
            num_workers=workers,
            worker_init_fn=ignore_interruptions,
            # Only from there does a batch go to a GPU while that still works on the last one.
            pin_memory=device.type == "cuda",
            # Worker seeds must not be drawn from the generator that dropout uses: an interrupted
            # epoch opens its loader twice.
            generator=torch.Generator().manual_seed(epoch),
        )
        asked = time.perf_counter()
        for step, batch in enumerate(loader, start=position.step):
            waited = time.perf_counter() - asked
            model.train()
            objective.train()
            progress = Progress(epoch, (epoch + step / len(dataset)) / epochs)
            encoders = world.encoders(
                model,
                key=(dataset.seed, ENCODING, epoch, step),
                fragments=objective.reads_fragments,
            )
            with accelerator.autocast():
                losses = objective(encoders, batch.to(device), progress)
            _check(losses, epoch, step)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(losses.total)
            # Each went back through its own rows, and through all that the objective has.
            world.add_gradients(model.parameters())
            world.add_gradients(objective.parameters(), scale=1 / world.size)
            figures = _figures(losses, schedule)
            if grad_clip:
                parameters = [*model.parameters(), *objective.parameters()]
                figures["gradient_norm"] = float(accelerator.clip_grad_norm_(parameters, grad_clip))
            optimizer.step()
            # A step that the loss scaling of fp16 left out has not been taken.
            if not accelerator.optimizer_step_was_skipped:
                schedule.step()
            last = step + 1 == len(dataset)
            position.epoch, position.step = (epoch + 1, 0) if last else (epoch, step + 1)
            yield Step(epoch, step, len(dataset), len(batch.image), figures, last, waited)
            asked = time.perf_counter()


def _check(losses: Losses, epoch: int, step: int) -> None:
    if torch.isfinite(losses.total):
        return
    terms = ", ".join(f"{name} {value.item():g}" for name, value in losses.terms.items())
    raise DivergedError(
        f"the loss is not finite in epoch {epoch + 1}, step {step + 1}: {terms}",
        "give the setting lr a lower value or loss.temperature a higher one, and train again; a "
        "damaged region store gives this, too",
    )


def _figures(losses: Losses, schedule: LambdaLR) -> dict[str, float]:
    # A sum grows with the batch, and looks like divergence.
    terms = {f"loss/{name}": value.item() / losses.pairs for name, value in losses.terms.items()}
    info = {name: value.item() for name, value in losses.info.items()}
    return {
        "loss/total": sum(terms.values()),
        **terms,
        **info,
        "lr": float(schedule.get_last_lr()[0]),
    }
