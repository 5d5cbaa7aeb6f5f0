"""What two processes do together. ``test_distributed.py`` runs this file, in both of them."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from trainer.build import Sizes, build_model, build_objective
from trainer.data import BatchDataset, Teacher
from trainer.distributed import ALONE, LostProcessError, together
from trainer.encoders import Encoded
from trainer.launch import join_world
from trainer.logging import JsonlLogger
from trainer.objectives import Progress
from weaksup.errors import DataError, UsageError

# Every term; nothing random before the embeddings, where each process has numbers of its own.
# Behind them, in the discriminators, dropout stays on.
ALL_TERMS = {"w_weak": 0.5, "w_adv": 0.1, "w_pseudo": 0.3}
EXACT = {"text__dropout": 0, "regions__dropout": 0}
OF_MODEL = {"a3vse": {**EXACT, **ALL_TERMS}, "vsepp": EXACT, "scan": EXACT}


@pytest.fixture(scope="session")
def processes():
    with join_world() as joined:
        assert joined.size == 2
        yield joined
    # A thread of the group that goes on can abort the process when the interpreter ends.
    assert not [name for name in threads() if "gloo" in name]


def threads():
    """The names of this process's threads, also of those that Python does not know."""
    return [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]


@pytest.fixture
def common(processes, tmp_path):
    """One folder for both."""
    return processes.on_first(lambda: tmp_path)


def test_the_group_has_threads_while_it_lives(processes):
    assert [name for name in threads() if "gloo" in name]


def encoded(rows, length, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, length, 4, generator=generator)
    mask = torch.rand(rows, length, generator=generator) > 0.3
    return Encoded(values.sum(1), values, values.abs().sum(2), mask)


def test_rows_are_gathered_and_each_has_its_own_gradient(processes):
    parts = [encoded(3, 2, seed=0), encoded(1, 5, seed=1)]
    mine = parts[processes.rank]
    for value in (mine.pooled, mine.fragments, mine.weights):
        value.requires_grad_()
    whole = processes.gather(mine, fragments=True)
    for name in ("pooled", "fragments", "weights", "mask"):
        found, start = getattr(whole, name), 0
        for part in parts:
            rows = found[start : (start := start + len(part.mask))]
            expected = getattr(part, name)
            if name == "pooled":
                assert torch.equal(rows, expected)
                continue
            assert rows.shape[1] == 5
            assert torch.equal(rows[:, : expected.shape[1]], expected)
            assert not rows[:, expected.shape[1] :].any()
    factors = torch.arange(1.0, 5.0)
    (whole.pooled.sum(1) @ factors + whole.fragments.sum((1, 2)) @ factors).backward()
    own = factors[3 * processes.rank : 3 + processes.rank]
    assert torch.equal(mine.pooled.grad, own[:, None].expand(-1, 4))
    assert torch.equal(mine.fragments.grad, own[:, None, None].expand_as(mine.fragments))


def test_fragments_that_nobody_reads_are_not_sent(processes):
    whole = processes.gather(encoded(3 - processes.rank, 2, seed=0), fragments=False)
    assert whole.pooled.shape == (5, 4)
    assert whole.fragments.shape == (5, 0, 4)
    assert whole.weights.shape == whole.mask.shape == (5, 0)


def test_gradients_are_added(processes):
    values = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (), (4,))]
    for value in values[:2]:
        value.grad = torch.full_like(value, 1.0 + processes.rank)
    processes.add_gradients(values, scale=0.5)
    for value in values[:2]:
        assert torch.equal(value.grad, torch.full_like(value, 1.5))
    assert values[2].grad is None


def test_an_error_that_is_of_no_other_process_stays_what_it_is(processes):
    with pytest.raises(RuntimeError, match="invalid tensor size") as caught, together():
        dist.all_gather([torch.zeros(3), torch.zeros(3)], torch.zeros(2))
    assert not isinstance(caught.value, LostProcessError)


def test_what_the_first_has_is_everywhere(processes):
    module = torch.nn.BatchNorm1d(3)
    module.register_buffer("flags", torch.zeros(4, dtype=torch.bool))
    torch.nn.init.constant_(module.weight, 5.0 - processes.rank)
    module.num_batches_tracked += 7 - processes.rank
    module.flags[processes.rank] = True
    processes.copy_first(module)
    assert module.weight.tolist() == [5.0] * 3
    assert module.num_batches_tracked == 7
    assert module.flags.tolist() == [True, False, False, False]


def test_a_flag_of_one_is_a_flag_of_all(processes):
    assert processes.any(processes.rank == 1)
    assert not processes.any(False)


def test_what_ends_the_first_ends_the_others_with_the_same_code(processes):
    assert processes.on_first(lambda: processes.rank) == 0

    def raises(error):
        raise error

    for error, code in ((DataError("bad"), 3), (KeyboardInterrupt(), 130), (ValueError(), 1)):
        with pytest.raises(type(error) if processes.first else SystemExit) as end:
            processes.on_first(lambda error=error: raises(error))
        assert processes.first or end.value.code == code


def parts_of(world, tiny, name):
    """Model, objective, and a function of the first batch as a process sees it."""
    data = world.data(unannotated=name == "a3vse")
    config = tiny(name, **OF_MODEL[name])
    torch.manual_seed(0)
    views = [torch.randn(len(of), 3).numpy() for of in (data.rows, data.gold_captions)]
    model = build_model(config, Sizes.of(data))
    objective = build_objective(config, concept_weights=torch.from_numpy(data.semantics.weights))

    def batch(of):
        return BatchDataset(
            data,
            seed=0,
            epoch=0,
            batch_size=5,
            unannotated_size=4 if name == "a3vse" else 0,
            max_regions=4,
            word_drop=0.2,
            word_removal=0.1,
            concept_drop=0.2,
            teacher=Teacher(*views),
            world=of,
        )[0]

    return model, objective, batch


def step(model, objective, batch, of):
    torch.manual_seed(3)
    model.zero_grad()
    objective.zero_grad()
    encoders = of.encoders(model, key=(0,), fragments=objective.reads_fragments)
    losses = objective(encoders, batch(of), Progress(0, 0.5))
    losses.total.backward()
    of.add_gradients(model.parameters())
    of.add_gradients(objective.parameters(), scale=1 / of.size)
    named = {**dict(model.named_parameters()), **dict(objective.named_parameters())}
    return losses, {k: v.grad for k, v in named.items() if v.grad is not None}


@pytest.mark.parametrize("name", OF_MODEL)
def test_loss_and_gradient_are_those_of_one_process(processes, world, tiny, name):
    model, objective, batch = parts_of(world, tiny, name)
    one, expected = step(model, objective, batch, ALONE)
    expected = {key: value.clone() for key, value in expected.items()}
    two, found = step(model, objective, batch, processes)
    assert two.terms.keys() == one.terms.keys()
    for key, value in {**one.terms, **one.info}.items():
        torch.testing.assert_close({**two.terms, **two.info}[key], value)
    assert found.keys() == expected.keys()
    assert len(found) > 5
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_no_two_processes_drop_the_same(processes, world, tiny):
    model, _, batch = parts_of(world, tiny, "vsepp")
    model.regions.dropout.p = 0.5
    whole = batch(ALONE)

    def twice():
        torch.manual_seed(5)
        encoders = processes.encoders(model, key=(1, 2), fragments=False)
        rows = [encoders.encode_images(whole.regions).pooled for _ in range(2)]
        return (*rows, torch.rand(3))

    first, second, after = twice()
    half = len(first) // 2
    assert not torch.equal(first[:half], first[half:])
    assert not torch.equal(first, second)
    # What follows is common, and all of it is the same again.
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))
    for value, again in zip((first, second, after), twice(), strict=True):
        assert torch.equal(value, again)


def test_each_reads_its_own_rows_of_a_batch(processes, world, monkeypatch):
    data, read = world.data(), []
    gather = type(data.store).gather

    def spy(store, rows, **settings):
        read.append(list(rows))
        return gather(store, rows, **settings)

    monkeypatch.setattr(type(data.store), "gather", spy)
    settings = {"word_drop": 0.3, "word_removal": 0.3, "concept_drop": 0.5, "max_regions": 4}
    one, mine = (
        BatchDataset(data, seed=1, epoch=2, batch_size=5, unannotated_size=4, world=of, **settings)[
            1
        ]
        for of in (ALONE, processes)
    )
    whole, share = read
    assert len(whole) == 9
    assert share == (whole[:4], whole[4:])[processes.rank]
    assert torch.equal(mine.image, one.image)
    for name, part in (("captions", (2, 5)), ("semantics", (2, 4))):
        cut = slice(0, part[0]) if processes.first else slice(*part)
        expected, found = getattr(one, name), getattr(mine, name)
        assert torch.equal(found.lengths, expected.lengths[cut])
        assert torch.equal(found.ids, expected.ids[cut][:, : found.ids.shape[1]])


def trained(world, config, folder, processes, *, resume=False):
    def make_logger(plan):
        return JsonlLogger(folder / "metrics.jsonl", resume_step=plan.start_step or None)

    result = world.train(
        config, folder, make_logger=make_logger, processes=processes, resume=resume
    )
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return result, lines, load_file(folder / "model.safetensors")


@pytest.mark.parametrize("name", OF_MODEL)
def test_a_run_is_that_of_one_process(processes, world, tiny, tmp_path, common, name):
    config = tiny(name, epochs=2, batch_size=5, lr=1e-3, **OF_MODEL[name])
    expected, lines, weights = trained(world, config, tmp_path / "alone", ALONE)
    found, same_lines, same_weights = trained(world, config, common / "shared", processes)
    assert found == expected
    assert len(lines) == 2 * 2 + 2
    for line, same in zip(lines, same_lines, strict=True):
        assert same.pop("kind") == line.pop("kind")
        assert same == pytest.approx(line, rel=1e-3, abs=1e-5), line
    assert weights.keys() == same_weights.keys()
    for key, value in weights.items():
        torch.testing.assert_close(same_weights[key], value, rtol=1e-3, atol=1e-4, msg=key)
    assert {path.name for path in (common / "shared").iterdir()} == {
        path.name for path in (tmp_path / "alone").iterdir()
    }


def test_an_interrupted_run_goes_on_exactly(processes, world, tiny, common):
    config = tiny("a3vse", epochs=2, batch_size=5, **ALL_TERMS)
    result, lines, weights = trained(world, config, common / "whole", processes)

    class Interrupting:
        def log(self, event):
            if event.kind == "step" and event.step == 3:
                # Twice, as launchers may do; and to the first alone.
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)

        def close(self): ...

    folder = common / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        world.train(config, folder, make_logger=lambda plan: Interrupting(), processes=processes)
    torch.manual_seed(1234 + processes.rank)
    again, rest, same = trained(world, config, folder, processes, resume=True)
    assert again == result
    assert rest == [line for line in lines if line["step"] > 3]
    assert {key: value.tolist() for key, value in same.items()} == {
        key: value.tolist() for key, value in weights.items()
    }


def test_vse_infty_trains_though_its_batch_statistics_are_of_shares(processes, world, tiny, common):
    result, lines, weights = trained(
        world, tiny("vse-infty", epochs=2, batch_size=5), common / "run", processes
    )
    assert result.epochs == 2
    assert all(np.isfinite(line.get("loss/total", 0)) for line in lines)
    assert all(value.isfinite().all() for value in weights.values())


def test_the_closed_form_is_solved_by_the_first_alone(processes, world, tiny, common):
    result, lines, _ = trained(world, tiny("cca"), common / "run", processes)
    assert result.best_rsum == lines[-1]["rsum"]
    assert len(lines) == 2


def test_batches_that_cannot_be_shared_are_refused(processes, world, tiny, common):
    config = tiny("vsepp", batch_size=2)
    gold = next(row for row in world.rows if row.part == "annotated" and len(row.kept) == 1)
    rows = [row for row in world.rows if row.part != "annotated"]
    alone = replace(world, rows=(gold, *rows))
    with pytest.raises(UsageError if processes.first else SystemExit) as end:
        alone.train(config, common / "run", processes=processes)
    assert (end.value.exit_code if processes.first else end.value.code) == 2
    assert not processes.first or "give the setting batch_size a higher value" in end.value.hint
    assert not Path(common / "run").exists()
