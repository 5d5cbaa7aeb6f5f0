from __future__ import annotations

import math
import runpy
import time
import warnings
from pathlib import Path

import pytest
import torch

from trainer.build import Sizes, build_model
from trainer.checkpoint import Position
from trainer.data import BatchDataset
from trainer.device import make_accelerator
from trainer.loop import DivergedError, train_steps, warmup_cosine
from trainer.objectives import Losses, Objective


def optimizer_of(*parameters, lr=1.0):
    return torch.optim.SGD(parameters or [torch.zeros(1, requires_grad=True)], lr=lr)


@pytest.mark.parametrize(("steps", "warmup"), [(20, 0.25), (20, 0.0), (3, 0.5), (1, 0.0)])
def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine(steps, warmup):
    optimizer = optimizer_of()
    schedule = warmup_cosine(optimizer, steps=steps, warmup=warmup)
    rise = max(1, round(warmup * steps))
    for step in range(steps):
        expected = (
            (step + 1) / rise
            if step < rise
            else (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2
        )
        assert schedule.get_last_lr()[0] == pytest.approx(expected)
        assert expected > 0
        optimizer.step()
        schedule.step()


class Scripted(Objective):
    """Losses as a function of the step; it notes what it was called with."""

    def __init__(self, value=lambda step: 1.0):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))
        self.value, self.calls = value, []

    def forward(self, model, batch, progress):
        self.calls.append((progress, batch, model.training, self.training))
        loss = self.factor * self.value(len(self.calls) - 1)
        return Losses({"fine": self.factor * 0 + 2.0, "odd": loss}, {"accuracy/x": loss.detach()})


@pytest.fixture
def loop(world, tiny):
    """The steps of a run of an objective; 10 gold captions make 3 steps an epoch."""
    data = world.data()
    config = tiny("vsepp")
    torch.manual_seed(0)
    model = build_model(config, Sizes.of(data))

    def start(
        objective,
        *,
        make_optimizer=lambda model, objective: optimizer_of(objective.factor, lr=0.125),
        position=None,
        epochs=2,
        grad_clip=0.0,
        workers=0,
        unannotated_size=2,
        made=BatchDataset,
    ):
        optimizer = make_optimizer(model, objective)
        accelerator = make_accelerator(device="cpu", precision="fp32")
        return train_steps(
            model=model,
            objective=objective,
            optimizer=accelerator.prepare(optimizer),
            schedule=warmup_cosine(optimizer, steps=100, warmup=0.0),
            accelerator=accelerator,
            batches=lambda epoch: made(
                data,
                seed=0,
                epoch=epoch,
                batch_size=3,
                unannotated_size=unannotated_size,
                max_regions=4,
                word_drop=0.0,
                word_removal=0.0,
                concept_drop=0.0,
            ),
            position=position or Position(),
            epochs=epochs,
            grad_clip=grad_clip,
            workers=workers,
        )

    return start


def test_every_step_is_yielded_with_its_place_and_figures(loop):
    objective, position = Scripted(lambda step: 1.0 + step), Position()
    steps, positions = [], []
    for step in loop(objective, position=position):
        steps.append(step)
        positions.append((position.epoch, position.step))
    size = steps[0].steps
    assert size > 1
    assert [(s.epoch, s.step) for s in steps] == [(e, i) for e in range(2) for i in range(size)]
    assert [s.last for s in steps] == ([False] * (size - 1) + [True]) * 2
    assert positions == [
        *((0, i) for i in range(1, size)),
        (1, 0),
        *((1, i) for i in range(1, size)),
        (2, 0),
    ]
    fractions = [progress.fraction for progress, *_ in objective.calls]
    assert fractions == pytest.approx([i / (2 * size) for i in range(2 * size)])
    assert steps[0].figures == {
        "loss/total": 3.0,
        "loss/fine": 2.0,
        "loss/odd": 1.0,
        "accuracy/x": 1.0,
        "lr": 0.125,
    }
    assert steps[0].images == len(objective.calls[0][1].image)


def test_it_goes_on_at_a_position_with_the_same_batches(loop):
    whole, rest = Scripted(), Scripted()
    list(loop(whole))
    resumed = list(loop(rest, position=Position(epoch=1, step=2)))
    assert (resumed[0].epoch, resumed[0].step) == (1, 2)
    expected = whole.calls[-len(resumed) :]
    for (_, one, *_), (_, other, *_) in zip(rest.calls, expected, strict=True):
        assert one.image.equal(other.image)
        assert one.captions.ids.equal(other.captions.ids)


class SlowDataset(BatchDataset):
    """Takes its time to read a batch."""

    def __getitem__(self, step):
        time.sleep(0.2)
        return super().__getitem__(step)


def test_a_step_says_how_long_it_waited_for_its_batch(loop):
    began = time.perf_counter()
    waited = []
    for step in loop(Scripted(), made=SlowDataset, epochs=1):
        time.sleep(0.1)  # what the caller does between two steps is not waiting
        waited.append(step.waited)
    assert min(waited) >= 0.2
    assert sum(waited) <= time.perf_counter() - began - 0.1 * len(waited)


def test_for_a_processor_nothing_is_pinned(loop):
    objective = Scripted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's where there is nothing to pin for
        list(loop(objective, epochs=1))
    assert not any(batch.regions.features.is_pinned() for _, batch, *_ in objective.calls)


def test_training_mode_is_set_anew_after_the_caller_has_evaluated(loop):
    objective = Scripted()
    for _ in loop(objective):
        objective.eval()
        objective.calls[-1][1].regions.features.zero_()
    assert all(model and own for _, _, model, own in objective.calls)


def test_workers_and_the_loader_draw_nothing_from_the_generator_of_dropout(loop):
    states = []
    for position, workers in ((Position(), 0), (Position(1, 1), 0), (Position(), 2)):
        torch.manual_seed(4)
        for _ in loop(Scripted(), position=position, workers=workers):
            pass
        states.append(torch.get_rng_state())
    assert states[0].equal(states[1])
    assert states[0].equal(states[2])


def test_the_gradient_is_clipped_and_its_norm_logged(loop):
    objective = Scripted(lambda step: 8.0)

    def faster(model, objective):
        return optimizer_of(objective.factor, lr=0.25)

    step = next(iter(loop(objective, grad_clip=0.5, make_optimizer=faster)))
    assert step.figures["gradient_norm"] == pytest.approx(8.0)
    assert objective.factor.item() == pytest.approx(1 - 0.25 * 0.5, rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_terms_and_takes_no_step(loop, value):
    objective = Scripted(lambda step: value if step == 2 else 1.0)
    steps = loop(objective)
    next(steps), next(steps)
    before = objective.factor.item()
    with pytest.raises(DivergedError, match=rf"epoch 1, step 3: fine 2, odd {value}") as error:
        next(steps)
    assert error.value.exit_code == 2
    assert "lr" in error.value.hint
    assert "a damaged region store gives this, too" in error.value.hint
    assert objective.factor.item() == before


def test_the_loss_of_the_documentation_trains_a_model(loop):
    example = Path(__file__).parents[2] / "docs" / "examples" / "sigmoid_objective.py"
    objective = runpy.run_path(str(example))["SigmoidObjective"]()

    def of_both(model, objective):
        return torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=0.01)

    steps = loop(objective, make_optimizer=of_both, unannotated_size=0, epochs=20)
    losses = [step.figures["loss/sigmoid"] for step in steps]
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
