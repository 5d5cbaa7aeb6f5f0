"""Whole runs of tiny models: how they are resumed, what is kept of them, what is logged."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from trainer.evaluate import evaluate_images
from trainer.logging import JsonlLogger
from trainer.loop import DivergedError
from trainer.run import load_run
from weaksup.errors import DataError, UsageError

# Every term of the objective and every source of random numbers.
ALL_TERMS = {"w_weak": 0.5, "w_adv": 0.1, "w_pseudo": 0.3}


class Recorder:
    """A logger that keeps events, and can act on one step."""

    def __init__(self, at=None, act=None):
        self.events, self.at, self.act, self.closed = [], at, act, 0

    def log(self, event):
        self.events.append(event)
        if self.act and event.kind == "step" and event.step == self.at:
            self.act()

    def close(self):
        self.closed += 1


# ------------------------------------------------------------------------------------------ resume


def jsonl(folder, act=None, at=None):
    """A logger factory: the figures in ``metrics.jsonl``, and something done at a step."""

    def make(plan):
        logger = JsonlLogger(folder / "metrics.jsonl", resume_step=plan.start_step or None)
        recorder = Recorder(at, act)

        class Both:
            def log(self, event):
                logger.log(event)
                recorder.log(event)

            def close(self):
                logger.close()

        return Both()

    return make


def interrupt(number=signal.SIGINT):
    return lambda: os.kill(os.getpid(), number)


LONG = {"epochs": 3, "patience": 0}


def whole_run(world, config, folder):
    result = world.train(config, folder, make_logger=jsonl(folder))
    return world.learnt(folder), (folder / "metrics.jsonl").read_text(), result


@pytest.mark.parametrize("model", ["a3vse", "vse-infty", "scan"])
@pytest.mark.parametrize("step", [1, 5, 6, 8], ids=lambda step: f"step {step}")
def test_an_interrupted_run_goes_on_exactly(world, tiny, tmp_path, model, step):
    config = tiny(model, **LONG, **(ALL_TERMS if model == "a3vse" else {}))
    expected = whole_run(world, config, tmp_path / "whole")
    folder = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        world.train(config, folder, make_logger=jsonl(folder, interrupt(), step))
    assert (folder / "last.pt").exists()
    # Another process would be in any state.
    torch.manual_seed(1234)
    result = world.train(config, folder, resume=True, make_logger=jsonl(folder))
    found = world.learnt(folder), (folder / "metrics.jsonl").read_text(), result
    assert found == expected
    assert not (folder / "last.pt").exists()


def test_interrupted_again_and_again(world, tiny, tmp_path):
    config = tiny("a3vse", **LONG, **ALL_TERMS, workers=1)
    expected = whole_run(world, config, tmp_path / "whole")
    folder = tmp_path / "interrupted"
    for attempt, step in enumerate((2, 4, 5, 8)):
        number = signal.SIGTERM if attempt % 2 else signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            world.train(
                config,
                folder,
                resume=attempt > 0,
                make_logger=jsonl(folder, interrupt(number), step),
            )
    result = world.train(config, folder, resume=True, make_logger=jsonl(folder))
    assert (world.learnt(folder), (folder / "metrics.jsonl").read_text(), result) == expected


def test_a_process_that_was_killed_goes_on_from_the_last_epoch(world, tiny, tmp_path):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    config = tiny("a3vse", **LONG, **ALL_TERMS)
    expected = whole_run(world, config, tmp_path / "whole")
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        world.train(config, folder, make_logger=jsonl(folder, kill, 5))
    result = world.train(config, folder, resume=True, make_logger=jsonl(folder))
    assert (world.learnt(folder), (folder / "metrics.jsonl").read_text(), result) == expected


def test_the_plan_of_a_resumed_run_knows_what_was_reached(world, tiny, tmp_path):
    config, plans = tiny("vsepp", **LONG), []

    def make_logger(plan):
        plans.append(plan)
        return Recorder(4, interrupt())

    with pytest.raises(KeyboardInterrupt):
        world.train(config, tmp_path / "run", make_logger=make_logger)
    world.train(config, tmp_path / "run", resume=True, make_logger=make_logger)
    first, second = plans
    assert (first.start_step, first.total_steps, first.best_rsum) == (0, 9, None)
    assert (second.start_step, second.total_steps, second.epochs) == (4, 9, 3)
    assert second.best_rsum is not None


# Without the tower the model does not hold what teaches.
@pytest.mark.parametrize("tower", [{}, {"fusion__linear": 0}], ids=["tower", "no tower"])
def test_what_was_solved_is_not_solved_again(world, tiny, tmp_path, monkeypatch, tower):
    config = tiny("a3vse", **LONG, **ALL_TERMS, **tower)
    expected = whole_run(world, config, tmp_path / "whole")
    folder = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        world.train(config, folder, make_logger=jsonl(folder, interrupt(), 2))

    def refuse(*arguments, **settings):
        raise AssertionError("solved again")

    for solve in ("feature_statistics", "fit_concepts", "fit_linear", "make_teacher"):
        monkeypatch.setattr(f"trainer.train.{solve}", refuse)
    store, begun = Watched(world.store()), []
    monkeypatch.setattr(type(world), "store", lambda self: store)

    def make_logger(plan):
        begun.extend(store.read)
        return jsonl(folder)(plan)

    result = world.train(config, folder, resume=True, make_logger=make_logger)
    assert begun == []
    assert (world.learnt(folder), (folder / "metrics.jsonl").read_text(), result) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_resumed_optimizer_counts_its_steps_in_main_memory(world, tiny, tmp_path):
    """It reads them at every step, and would wait for the GPU each time."""
    config = tiny("a3vse", **LONG, device="cuda")
    for resume, step in ((False, 2), (True, 4)):
        with pytest.raises(KeyboardInterrupt):
            world.train(
                config,
                tmp_path / "run",
                resume=resume,
                make_logger=lambda plan, step=step: Recorder(step, interrupt()),
            )
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    moments = state["modules"]["optimizer"]["state"].values()
    assert {moment["step"].device.type for moment in moments} == {"cpu"}
    assert {moment["exp_avg"].device.type for moment in moments} == {"cuda"}


def interrupted(world, config, folder):
    with pytest.raises(KeyboardInterrupt):
        world.train(config, folder, make_logger=lambda plan: Recorder(4, interrupt()))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("what", ["settings", "annotations", "captions", "regions"])
def test_a_run_of_anything_else_is_not_resumed_and_left_as_it_is(world, tiny, tmp_path, what):
    config = tiny("vsepp", **LONG)
    before = interrupted(world, config, tmp_path / "run")
    if what == "settings":
        config = config.model_copy(update={"lr": 0.02})
    elif what == "annotations":
        world = world.change("annotated", kept=lambda row: (0,))
    elif what == "captions":
        world = world.change("test", captions=lambda row: ("wholly new",) * 5)
    else:
        world = world.change(
            "val",
            **{
                name: lambda row, name=name: getattr(row, name)[:1]
                for name in ("features", "objects", "attributes")
            },
        )
    with pytest.raises(UsageError, match=f"other .*{what}"):
        world.train(config, tmp_path / "run", resume=True)
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert after == before


def test_where_a_run_is_made_and_how_fast_is_no_other_run(world, tiny):
    config = tiny("vsepp", precision="fp32", device="cpu")
    elsewhere = tiny("vsepp", precision="fp32", device="auto", workers=3)
    assert world.fingerprint(elsewhere) == world.fingerprint(config)


def test_a_run_goes_on_with_another_number_of_workers(world, tiny, tmp_path):
    expected = whole_run(world, tiny("vsepp", **LONG), tmp_path / "whole")[0]
    interrupted(world, tiny("vsepp", **LONG), tmp_path / "run")
    world.train(tiny("vsepp", **LONG, workers=1), tmp_path / "run", resume=True)
    assert world.learnt(tmp_path / "run") == expected


def test_a_run_goes_on_in_its_own_precision_alone(world, tiny, tmp_path):
    """``bf16`` stands for what ``auto`` is on a GPU."""
    before = interrupted(world, tiny("vsepp", **LONG, device="cpu"), tmp_path / "run")
    with pytest.raises(UsageError) as caught:
        world.train(
            tiny("vsepp", **LONG, device="cpu", precision="bf16"), tmp_path / "run", resume=True
        )
    assert caught.value.message == (
        f"the interrupted run in {tmp_path / 'run'} was trained in the precision fp32, and would "
        "go on in bf16"
    )
    assert "give the setting precision=fp32" in caught.value.hint
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    named = tiny("vsepp", **LONG, device="cpu", precision="fp32")
    assert world.train(named, tmp_path / "run", resume=True).epochs == LONG["epochs"]


def test_a_damaged_state_is_refused(world, tiny, tmp_path):
    config = tiny("vsepp", **LONG)
    interrupted(world, config, tmp_path / "run")
    state = tmp_path / "run" / "last.pt"
    state.write_bytes(state.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"last\.pt"):
        world.train(config, tmp_path / "run", resume=True)


# ----------------------------------------------------------------------- validation and the best


@pytest.fixture
def scored(monkeypatch):
    """Validation that finds the given rsums, one an epoch."""

    def script(*values):
        rest = iter(values)
        monkeypatch.setattr(
            "trainer.train.evaluate_images",
            lambda *given: replace(evaluate_images(*given), rsum=next(rest)),
        )

    return script


def test_the_best_weights_are_kept(world, tiny, tmp_path, scored):
    scored(10.0, 30.0, 20.0)
    result = world.train(tiny("vsepp", epochs=3), tmp_path / "three")
    assert (result.best_epoch, result.best_rsum, result.epochs) == (2, 30.0, 3)
    # What an interruption right after the second epoch leaves are the weights of that epoch.
    scored(10.0, 30.0)
    folder = tmp_path / "two"
    with pytest.raises(KeyboardInterrupt):
        world.train(
            tiny("vsepp", epochs=3), folder, make_logger=lambda plan: Recorder(6, interrupt())
        )
    assert world.learnt(folder) == world.learnt(tmp_path / "three")


def test_a_worse_score_after_resuming_does_not_replace_the_best(world, tiny, tmp_path, scored):
    scored(10.0, 30.0, 20.0)
    config, folder = tiny("vsepp", epochs=3), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        world.train(config, folder, make_logger=lambda plan: Recorder(7, interrupt()))
    best = world.learnt(folder)
    result = world.train(config, folder, resume=True)
    assert (result.best_epoch, result.best_rsum, result.epochs) == (2, 30.0, 3)
    assert world.learnt(folder) == best


@pytest.mark.parametrize("at", [None, 9])
def test_patience_ends_a_run(world, tiny, tmp_path, scored, at):
    scored(10.0, 5.0, 10.0, 50.0)
    config = tiny("vsepp", epochs=6, patience=2)
    # A signal in the very last step comes too late.
    logger = Recorder(at, interrupt() if at else None)
    result = world.train(config, tmp_path / "run", make_logger=lambda plan: logger)
    assert (result.best_epoch, result.epochs) == (1, 3)
    assert logger.closed == 1
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_last_step_of_all_comes_too_late(world, tiny, tmp_path, number):
    config = tiny("vsepp", **LONG)
    expected = whole_run(world, config, tmp_path / "whole")
    folder = tmp_path / "run"
    result = world.train(config, folder, make_logger=jsonl(folder, interrupt(number), 9))
    assert result.interrupted
    result = replace(result, interrupted=False)
    assert (world.learnt(folder), (folder / "metrics.jsonl").read_text(), result) == expected
    assert not (folder / "last.pt").exists()


def test_without_val_images_the_last_epoch_is_the_best(world, tiny, tmp_path):
    no_val = replace(
        world,
        rows=tuple(replace(r, part="test") if r.part == "val" else r for r in world.rows),
    )
    logger = Recorder()
    result = no_val.train(tiny("vsepp"), tmp_path / "run", make_logger=lambda plan: logger)
    assert math.isnan(result.best_rsum)
    assert (result.best_epoch, result.epochs) == (2, 2)
    assert {event.kind for event in logger.events} == {"step"}
    assert load_run(tmp_path / "run").model_name == "vsepp"


@pytest.mark.parametrize("model", ["a3vse", "cca"])
@pytest.mark.parametrize("val", ["val", "test"])
def test_the_hubness_banks_are_saved_with_the_weights(world, tiny, tmp_path, model, val):
    """Also where there is nothing to validate on."""
    rows = tuple(replace(r, part=val) if r.part == "val" else r for r in world.rows)
    world = replace(world, rows=rows)
    world.train(tiny(model, hubness__weight=0.5, hubness__bank=5), tmp_path / "run")
    hubness = load_run(tmp_path / "run").model.hubness
    assert hubness.known.tolist() == [5, 5]
    assert (hubness.image_bank.norm(dim=1) > 0.9).all()


# -------------------------------------------------------------------------------------- the figures


def test_every_term_is_logged(world, tiny, tmp_path):
    world.train(tiny("a3vse", **ALL_TERMS), tmp_path / "run", make_logger=jsonl(tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    terms = {"gold", "weak", "pseudo", "adversarial_visual", "adversarial_textual"}
    for line in steps:
        assert {name[5:] for name in line if name.startswith("loss/")} == {*terms, "total"}
        assert line["loss/total"] == pytest.approx(sum(line[f"loss/{term}"] for term in terms))
        assert {"accuracy/visual", "accuracy/textual", "lr", "gradient_norm"} <= line.keys()
    validations = [line for line in lines if line["kind"] == "val"]
    assert [line["step"] for line in validations] == [3, 6]
    assert all("text_to_image/R@1" in line and "rsum" in line for line in validations)


def test_without_weak_terms_no_unannotated_image_is_in_a_step(world, tiny, tmp_path):
    for weights, expected in (
        ({"w_weak": 0, "w_adv": 0, "w_pseudo": 0}, 10),
        (ALL_TERMS, 10 + 3 * 3),
    ):
        logger = Recorder()
        world.train(
            tiny("a3vse", epochs=1, unannotated_per_gold=1, **weights),
            tmp_path / str(expected),
            make_logger=lambda plan, logger=logger: logger,
        )
        assert sum(event.images for event in logger.events) == expected
        names = load_file(tmp_path / str(expected) / "model.safetensors")
        assert not [name for name in names if "textual" in name or "visual" in name]


@pytest.mark.parametrize(
    ("per_gold", "weights", "drawn"),
    [
        (0.1, {}, 1),
        (0.1, {"w_gold": 0}, 1),
        (0.1, {"w_weak": 0}, 0),
        (0, {}, 0),
        (1, {}, 3),
        (100, {}, 9),
    ],
)
def test_a_step_has_an_unannotated_image_where_a_term_reads_them(
    world, tiny, tmp_path, per_gold, weights, drawn
):
    logger = Recorder()
    world.train(
        tiny("a3vse", epochs=1, unannotated_per_gold=per_gold, **weights),
        tmp_path / "run",
        make_logger=lambda plan: logger,
    )
    steps = [event for event in logger.events if event.kind == "step"]
    assert sum(step.images for step in steps) == 10 + drawn * len(steps)
    assert all(("loss/weak" in step.values) == bool(drawn) for step in steps)


def test_where_every_image_is_annotated_the_terms_of_the_others_are_left_out(world, tiny, tmp_path):
    logger = Recorder()
    world.change("unannotated", readable=lambda row: False).train(
        tiny("a3vse", epochs=1, **ALL_TERMS), tmp_path / "run", make_logger=lambda plan: logger
    )
    step = next(event for event in logger.events if event.kind == "step")
    assert {name for name in step.values if name.startswith("loss/")} == {
        "loss/gold",
        "loss/pseudo",
        "loss/total",
    }


class Watched:
    """A store that keeps which images are read."""

    def __init__(self, store):
        self.inner, self.read = store, []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def gather(self, rows, **options):
        self.read.append({self.inner.ids[row] for row in rows})
        return self.inner.gather(rows, **options)


def without_names(row):
    return np.full_like(row.objects, -1)


@pytest.mark.parametrize(
    ("weights", "reads"),
    [({}, False), ({"w_adv": 0.1}, True), ({"w_pseudo": 0.3}, True)],
    ids=["weak alone", "adversary", "teacher"],
)
def test_of_images_without_names_steps_read_what_a_term_uses(
    world, tiny, tmp_path, monkeypatch, weights, reads
):
    unnamed = world.change("unannotated", objects=without_names)
    store, begun, plans, logger = Watched(unnamed.store()), [], [], Recorder()
    monkeypatch.setattr(type(unnamed), "store", lambda self: store)

    def make_logger(plan):
        plans.append(plan)
        begun.append(len(store.read))
        logger.at, logger.act = plan.total_steps, lambda: begun.append(len(store.read))
        return logger

    config = tiny("a3vse", epochs=1, unannotated_per_gold=1, **weights)
    assert config.loss.w_weak
    unnamed.train(config, tmp_path / "run", make_logger=make_logger)
    read = set().union(*store.read[slice(*begun)])
    assert unnamed.ids("annotated") <= read
    assert bool(read & unnamed.ids("unannotated")) == reads
    # The statistics and the hubness correction are of them, too.
    assert set().union(*store.read) & unnamed.ids("unannotated")
    steps = [event for event in logger.events if event.kind == "step"]
    assert all("loss/weak" not in step.values for step in steps)
    (note,) = plans[0].notes
    assert "semantics.threshold = 0.25 or more: loss.w_weak has nothing to learn from" in note
    assert ("read annotated images alone" in note) != reads


def test_nothing_is_noted_where_there_are_names(world, tiny, tmp_path):
    plans = []
    for number, changed in enumerate(
        (world, world.change("unannotated", readable=lambda row: False))
    ):
        changed.train(
            tiny("a3vse", epochs=1),
            tmp_path / str(number),
            make_logger=lambda plan: plans.append(plan) or Recorder(),
        )
    assert [plan.notes for plan in plans] == [(), ()]


def test_weak_pairs_alone_without_names_are_refused(world, tiny, tmp_path):
    unnamed = world.change("unannotated", objects=without_names)
    with pytest.raises(DataError, match="only from that would be learned"):
        unnamed.train(tiny("a3vse", w_gold=0, w_pseudo=0, w_weak=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_to_learn_from_is_told_before_anything_is_written(world, tiny, tmp_path):
    everything = world.change("unannotated", readable=lambda row: False)
    with pytest.raises(DataError, match="every training image is annotated"):
        everything.train(tiny("a3vse", w_gold=0, w_pseudo=0, w_weak=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_lowers_the_loss(world, tiny, tmp_path):
    logger = Recorder()
    config = tiny("a3vse", epochs=30, w_adv=0, text__dropout=0, regions__dropout=0)
    world.train(config, tmp_path / "run", make_logger=lambda plan: logger)
    losses = [event.values["loss/gold"] for event in logger.events if event.kind == "step"]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])


def test_a_run_that_diverges_says_so_and_closes_its_loggers(world, tiny, tmp_path):
    logger = Recorder()
    config = tiny("vsepp", lr=1, weight_decay=1e38, grad_clip=0, warmup=0, epochs=20)
    with pytest.raises(DivergedError, match="gold"):
        world.train(config, tmp_path / "run", make_logger=lambda plan: logger)
    assert logger.closed == 1


def test_cca_is_solved_in_one_step(world, tiny, tmp_path):
    logger = Recorder()
    result = world.train(tiny("cca"), tmp_path / "run", make_logger=lambda plan: logger)
    assert [event.kind for event in logger.events] == ["step", "val"]
    step, val = logger.events
    assert 1 >= step.values["correlation/first"] >= step.values["correlation/last"] >= 0
    assert val.values["rsum"] == result.best_rsum
    assert logger.closed == 1
    assert not (tmp_path / "run" / "last.pt").exists()
