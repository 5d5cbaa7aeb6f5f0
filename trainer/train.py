"""Train one run: from a store, captions and annotations to a run folder.

Read top to bottom: ``train`` is the recipe, the functions below it are its steps.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import AdamW

from trainer.build import Sizes, build_linear, build_model, build_objective
from trainer.checkpoint import (
    PRECISION,
    SETTINGS,
    STATE,
    WEIGHTS,
    Position,
    check_fingerprint,
    load_state,
    save_state,
    save_weights,
    seed_everything,
)
from trainer.config import TrainConfig
from trainer.data import BatchDataset, Teacher, TrainingData
from trainer.device import make_accelerator, resolve_precision
from trainer.distributed import ALONE, World
from trainer.evaluate import EvaluationResult, choose_split, evaluate_images
from trainer.interrupt import deferred_interruption
from trainer.logging import Event, Logger, Loggers
from trainer.loop import Step, train_steps, warmup_cosine
from trainer.models.a3vse import A3VSE
from trainer.models.base import EmbeddingModel, RetrievalModel
from trainer.models.cca import CCA
from trainer.objectives import Objective
from trainer.run import RunDescription, Towers, write_vocabulary
from trainer.statistics import feature_statistics
from trainer.teacher import fit_concepts, fit_hubness, fit_linear, make_teacher
from weaksup.errors import DataError, UsageError
from weaksup.store import RegionStore
from weaksup.types import VAL, Annotations, CaptionedImage, Corpus

REPEATED_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """How long a run is; what a progress display needs before the first step.

    Attributes:
        epochs: in all.
        total_steps: in all.
        start_step: done already.
        best_rsum: of the validation so far; None before the first.
        notes: what of the settings has no effect on these data, a sentence each.
    """

    epochs: int
    total_steps: int
    start_step: int
    best_rsum: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingResult:
    """What training came to.

    Attributes:
        best_rsum: on val; NaN where the captions have no val images.
        best_epoch: counted from 1; 0 for a closed-form model.
        epochs: that were run.
        interrupted: whether a signal came too late to stop it, and what follows is to stop.
    """

    best_rsum: float
    best_epoch: int
    epochs: int
    interrupted: bool = False


def train(
    *,
    config: TrainConfig,
    store: RegionStore,
    corpus: Corpus,
    annotations: Annotations,
    description: RunDescription,
    folder: Path,
    resume: bool,
    make_logger: Callable[[Plan], Logger],
    world: World = ALONE,
) -> TrainingResult:
    """Train a run and leave its best weights in ``folder``.

    Args:
        config: every setting.
        store: open region store.
        corpus: with splits, and with the ids of the store (``match_ids``).
        annotations: which captions are kept.
        description: written to ``folder`` as ``config.json``.
        folder: of the run; made if need be.
        resume: go on from the folder's ``last.pt``.
        make_logger: called once with the run's plan, on the first process.
        world: the processes that train this run, each of which calls this with the same arguments.
            The first alone writes, validates and solves what has a closed form.

    Raises:
        UsageError: if the device does not exist here, or cannot do the precision; or if there
            are more processes than gold pairs in a batch; or if the state to resume is of another
            run.
        KeyboardInterrupt: on SIGINT or SIGTERM, after the state has been saved.
        DataError: if the data do not fit one another.
        DivergedError: if a loss is not finite.
        LostProcessError: if another process of the run has ended.
    """
    # First what may be refused: a folder is written only for a run that can begin.
    accelerator = make_accelerator(device=config.device, precision=config.precision, world=world)
    seed_everything(config.seed)
    data = TrainingData.build(
        store,
        corpus,
        annotations,
        unannotated=reads_unannotated(config),
        semantics=config.semantics,
        min_count=config.text.min_count,
    )
    _check_objective(config, data)
    model = build_model(config, Sizes.of(data))
    fingerprint = run_fingerprint(config, store, corpus, annotations)
    if resume:
        # Before anything in the folder is overwritten.
        check_fingerprint(folder / STATE, fingerprint)
    begin = partial(_begin, folder, data, description)
    validate = _validator(config, store, corpus, data, model)
    if isinstance(model, CCA):
        world.on_first(begin)
        return world.on_first(lambda: _fit(model, config, data, folder, validate, make_logger))
    objective = build_objective(
        config,
        concept_weights=torch.from_numpy(data.semantics.weights),
        weak=data.knows_unannotated,
    )
    unannotated_size = _unannotated_size(objective, config, data)
    world.on_first(lambda: _check_processes(world, config, data, unannotated_size))
    world.on_first(begin)
    if resume:  # The state brings what was solved.
        teacher = Teacher.unread() if _has_teacher(config) else None
    else:
        teacher = world.on_first(lambda: _solve(model, config, data))
        # Solved once, not by each: libraries and numbers of threads round in different ways.
        world.copy_first(model)
    return _descend(
        model,
        objective,
        config,
        data,
        folder,
        validate,
        make_logger,
        unannotated_size=unannotated_size,
        teacher=teacher,
        accelerator=accelerator,
        resume=resume,
        fingerprint=fingerprint,
        world=world,
    )


def _check_objective(config: TrainConfig, data: TrainingData) -> None:
    """Refuse a loss that has nothing to learn from in these data."""
    loss = config.loss
    if config.model != "a3vse" or loss.w_gold or loss.w_pseudo:
        return
    if not data.unannotated:
        raise DataError(
            "every training image is annotated, and only un-annotated ones would be learned from "
            "(loss.w_gold and loss.w_pseudo are 0)",
            "keep the captions of fewer images (a smaller ratio), or give loss.w_gold a weight",
        )
    if not (loss.w_adv or data.knows_unannotated):
        raise DataError(
            f"{_nothing_known(config, data)}, and only from that would be learned (of the losses "
            "loss.w_weak alone has a weight)",
            "give loss.w_gold a weight",
        )


def _nothing_known(config: TrainConfig, data: TrainingData) -> str:
    """Why no un-annotated image has regional semantics."""
    if not data.store.objects:
        return f"the objects in {data.store.path} have no names"
    return (
        "no un-annotated image shows an object of a score of semantics.threshold = "
        f"{config.semantics.threshold:g} or more"
    )


def _notes(config: TrainConfig, data: TrainingData, unannotated_size: int) -> tuple[str, ...]:
    """What is left out because these data have nothing for it."""
    if config.model != "a3vse":
        return ()
    notes = []
    if config.fusion.linear and config.fusion.objects and not data.store.objects:
        notes.append(f"{_nothing_known(config, data)}: fusion.objects has nothing to count")
    if config.loss.w_weak and data.unannotated and not data.knows_unannotated:
        note = f"{_nothing_known(config, data)}: loss.w_weak has nothing to learn from"
        if not unannotated_size:
            note += ", and training steps read annotated images alone"
        notes.append(note)
    return tuple(notes)


def _unannotated_size(objective: Objective, config: TrainConfig, data: TrainingData) -> int:
    """Un-annotated images a step: at least one, where a term reads them and there are any."""
    wanted = config.batch_size * objective.unannotated_per_gold
    return min(max(1, round(wanted)), data.unannotated) if wanted else 0


def reads_unannotated(config: TrainConfig) -> bool:
    """Whether un-annotated images are read at all; a baseline gets not even a statistic of them."""
    return config.model == "a3vse" and config.unannotated


def _check_processes(
    world: World, config: TrainConfig, data: TrainingData, unannotated_size: int
) -> None:
    """Refuse processes that would have nothing to encode."""
    pairs = len(data.gold_captions)
    fewest = pairs // max(1, round(pairs / config.batch_size))
    if unannotated_size:
        fewest = min(fewest, unannotated_size)
    if fewest < world.size:
        raise UsageError(
            f"{world.size} processes cannot share batches of {fewest} gold pairs or "
            "un-annotated images",
            "start fewer processes, or give the setting batch_size a higher value",
        )


def _begin(folder: Path, data: TrainingData, description: RunDescription) -> None:
    """Write what the run is made from."""
    folder.mkdir(parents=True, exist_ok=True)
    write_vocabulary(folder, data.vocabulary)
    description.write(folder)


def run_fingerprint(
    config: TrainConfig, store: RegionStore, corpus: Corpus, annotations: Annotations
) -> dict[str, str]:
    """What a run is made from, by name; a run resumes only with equal ones.

    Raises:
        UsageError: if the device does not exist here, or cannot do the precision.
    """
    kept = json.dumps(asdict(annotations), sort_keys=True).encode()
    # What `auto` is depends on the device: what it is here counts, and not what was written.
    settings = config.decisive.model_copy(update={PRECISION: "auto"})
    return {
        SETTINGS: settings.model_dump_json(),
        PRECISION: resolve_precision(device=config.device, precision=config.precision),
        "regions": store.fingerprint,
        "captions": corpus.fingerprint,
        "annotations": hashlib.sha256(kept).hexdigest(),
    }


def _validator(
    config: TrainConfig,
    store: RegionStore,
    corpus: Corpus,
    data: TrainingData,
    model: RetrievalModel,
) -> Callable[[], EvaluationResult | None]:
    """A function that makes the model ready to be saved, and evaluates it on val.

    It gives None where there is no val image.
    """
    images: Sequence[CaptionedImage] = ()
    with suppress(DataError):
        images = choose_split(corpus, store, VAL).images

    def validate() -> EvaluationResult | None:
        if isinstance(model, EmbeddingModel):
            fit_hubness(model, data, max_regions=config.max_regions, seed=config.seed)
        if not images:
            return None
        towers = Towers(
            model=model,
            vocabulary=data.vocabulary,
            device=next(iter(model.state_dict().values())).device,
            max_regions=config.max_regions,
        )
        return evaluate_images(towers, store, images)

    return validate


def _fit(
    model: CCA,
    config: TrainConfig,
    data: TrainingData,
    folder: Path,
    validate: Callable[[], EvaluationResult | None],
    make_logger: Callable[[Plan], Logger],
) -> TrainingResult:
    """The closed form: no steps, no state to resume."""
    logger = make_logger(Plan(epochs=1, total_steps=1, start_step=0, best_rsum=None))
    correlations = fit_linear(model.linear, data, max_regions=config.max_regions)
    values = {
        "correlation/first": float(correlations[0]),
        "correlation/last": float(correlations[-1]),
    }
    logger.log(Event("step", 1, 0, values, images=data.annotated))
    result = validate()
    save_weights(folder / WEIGHTS, model)
    if result is not None:
        logger.log(Event("val", 1, 0, _figures(result)))
    logger.close()
    return TrainingResult(math.nan if result is None else result.rsum, 0, 1)


def _has_teacher(config: TrainConfig) -> bool:
    return config.model == "a3vse" and bool(config.loss.w_pseudo)


def _solve(model: RetrievalModel, config: TrainConfig, data: TrainingData) -> Teacher | None:
    """What is computed before the first step: statistics, and the towers that have a closed form.

    Returns:
        The linear tower's view of the data, where ``loss.w_pseudo`` asks for a teacher.
    """
    # A statistic leaks too: it is of what the model may learn from, and of nothing else.
    statistics = feature_statistics(data.store, data.rows, max_regions=config.max_regions)
    model.standardizer.set(*statistics)
    if not isinstance(model, A3VSE):
        return None
    if model.concepts is not None:
        fit_concepts(model.concepts, data)
    teaches = _has_teacher(config)
    linear = model.linear
    if linear is None and teaches:
        linear = build_linear(config, Sizes.of(data))
    if linear is None:
        return None
    fit_linear(linear, data, max_regions=config.max_regions)
    return make_teacher(linear, data, max_regions=config.max_regions) if teaches else None


def _descend(
    model: RetrievalModel,
    objective: Objective,
    config: TrainConfig,
    data: TrainingData,
    folder: Path,
    validate: Callable[[], EvaluationResult | None],
    make_logger: Callable[[Plan], Logger],
    *,
    unannotated_size: int,
    teacher: Teacher | None,
    accelerator: Accelerator,
    resume: bool,
    fingerprint: dict[str, str],
    world: World,
) -> TrainingResult:
    """Gradient descent with validation, checkpoints and early stopping after every epoch."""
    model.to(accelerator.device)
    if accelerator.device.type == "cuda" and not world.alone:
        # It replaces layers inside the model, and knows no CPU (docs/distributed.md).
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    objective.to(accelerator.device)

    def batches(epoch: int) -> BatchDataset:
        return BatchDataset(
            data,
            seed=config.seed,
            epoch=epoch,
            batch_size=config.batch_size,
            unannotated_size=unannotated_size,
            max_regions=config.max_regions,
            word_drop=config.text.word_drop,
            word_removal=config.text.word_removal,
            concept_drop=config.semantics.concept_drop,
            teacher=teacher,
            world=world,
        )

    steps = len(batches(0))
    optimizer = AdamW(
        [*model.parameters(), *objective.parameters()],
        lr=config.lr,
        weight_decay=config.weight_decay,
    )
    schedule = warmup_cosine(optimizer, steps=config.epochs * steps, warmup=config.warmup)
    # Before a state is loaded, all of which it would take to the device (trainer/checkpoint.py).
    prepared = accelerator.prepare(optimizer)
    modules: dict[str, Any] = {
        "model": model,
        "objective": objective,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    if accelerator.scaler is not None:
        modules["scaler"] = accelerator.scaler
    if teacher is not None:
        modules["teacher"] = teacher
    state = folder / STATE
    position = Position()
    if resume:
        position = load_state(
            state,
            modules=modules,
            fingerprint=fingerprint,
            device=accelerator.device,
            alone=world.alone,
        )
    start = position.epoch * steps + position.step
    plan = Plan(
        epochs=config.epochs,
        total_steps=config.epochs * steps,
        start_step=start,
        best_rsum=position.best_rsum if position.best_epoch else None,
        notes=_notes(config, data, unannotated_size),
    )
    save = partial(save_state, state, modules=modules, position=position, fingerprint=fingerprint)
    quiet = Loggers(())
    # A launcher passes on a signal that its processes may have had already.
    grace = 0.0 if world.alone else REPEATED_SECONDS
    with (
        closing(make_logger(plan) if world.first else quiet) as logger,
        deferred_interruption(grace=grace) as interruption,
    ):
        for step in train_steps(
            model=model,
            objective=objective,
            optimizer=prepared,
            schedule=schedule,
            accelerator=accelerator,
            batches=batches,
            position=position,
            epochs=config.epochs,
            grad_clip=config.grad_clip,
            workers=config.workers,
            world=world,
        ):
            done = step.epoch * steps + step.step + 1
            logger.log(
                Event(
                    "step", done, step.epoch, step.figures, images=step.images, waited=step.waited
                )
            )
            if step.last:
                position.best_rsum, position.best_epoch = world.on_first(
                    partial(_finish_epoch, step, done, model, position, folder, validate, logger)
                )
            stop = world.any(interruption.requested)
            if step.last or stop:
                world.on_first(save)
            # First whether training has ended: then an interruption has come too late.
            if _has_ended(config, position):
                break
            if stop:
                raise KeyboardInterrupt
    world.on_first(state.unlink)
    best = position.best_rsum if position.best_rsum >= 0 else math.nan
    return TrainingResult(best, position.best_epoch, position.epoch, interruption.requested)


def _has_ended(config: TrainConfig, position: Position) -> bool:
    """Whether there is no step left to take, or patience."""
    waited = position.epoch - position.best_epoch
    return position.epoch >= config.epochs or 0 < config.patience <= waited


def _finish_epoch(
    step: Step,
    done: int,
    model: RetrievalModel,
    position: Position,
    folder: Path,
    validate: Callable[[], EvaluationResult | None],
    logger: Logger,
) -> tuple[float, int]:
    """Validate and keep the best weights; without val images the last epoch is the best.

    Returns:
        The best rsum, and the epochs completed when it was reached.
    """
    best = position.best_rsum
    result = validate()
    if result is not None:
        figures = _figures(result)
        logger.log(Event("val", done, step.epoch, figures))
        if result.rsum <= best:
            return best, position.best_epoch
        best = result.rsum
    save_weights(folder / WEIGHTS, model)
    return best, position.epoch


def _figures(result: EvaluationResult) -> dict[str, float]:
    return {
        "rsum": result.rsum,
        **{f"image_to_text/{name}": value for name, value in result.image_to_text.items()},
        **{f"text_to_image/{name}": value for name, value in result.text_to_image.items()},
    }
