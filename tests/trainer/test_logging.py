from __future__ import annotations

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.logging import Event, JsonlLogger, Loggers, TensorBoardLogger


def step(number, epoch=0, **values):
    return Event("step", number, epoch, values or {"loss/gold": 1.0 / number})


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_event_is_a_line_at_once(tmp_path):
    path = tmp_path / "runs" / "metrics.jsonl"
    logger = JsonlLogger(path)
    logger.log(Event("step", 1, 0, {"loss/new": 0.5, "lr": 1e-5}))
    logger.log(Event("val", 1, 0, {"rsum": 12.0}))
    assert lines(path) == [
        {"kind": "step", "step": 1, "epoch": 0, "loss/new": 0.5, "lr": 1e-5},
        {"kind": "val", "step": 1, "epoch": 0, "rsum": 12.0},
    ]
    logger.close()


def test_a_figure_that_is_no_number_is_null(tmp_path):
    logger = JsonlLogger(tmp_path / "metrics.jsonl")
    logger.log(step(1, a=float("nan"), b=float("-inf")))
    logger.close()
    assert lines(tmp_path / "metrics.jsonl") == [
        {"kind": "step", "step": 1, "epoch": 0, "a": None, "b": None}
    ]


def test_resuming_drops_what_will_be_done_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with Loggers([JsonlLogger(path)]) as logger:
        for number in range(1, 8):
            logger.log(step(number))
        logger.log(Event("val", 4, 0, {"rsum": 1.0}))
    # A process that is killed may leave half a line.
    with path.open("a") as file:
        file.write('{"kind": "step", "st')
    logger = JsonlLogger(path, resume_step=4)
    logger.log(step(5, lr=0.5))
    logger.close()
    assert [(line["kind"], line["step"]) for line in lines(path)] == [
        *(("step", number) for number in (1, 2, 3, 4)),
        ("val", 4),
        ("step", 5),
    ]
    assert lines(path)[-1]["lr"] == 0.5
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_new_run_begins_anew_and_resuming_without_a_file_does_too(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for resume_step in (3, None):
        logger = JsonlLogger(path, resume_step=resume_step)
        logger.log(step(1))
        logger.close()
        assert len(lines(path)) == 1


def scalars(folder):
    accumulator = EventAccumulator(str(folder)).Reload()
    events = {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in items]
        for tag, items in events.items()
        if items
    }


def test_tensorboard_gets_every_figure_and_forgets_what_is_done_again(tmp_path):
    with Loggers([TensorBoardLogger(tmp_path)]) as logger:
        for number in (1, 2, 3):
            logger.log(Event("step", number, 0, {"loss/gold": float(number), "lr": 0.1}))
        logger.log(Event("val", 3, 0, {"rsum": 50.0, "i2t/R@1": 2.0}))
    with Loggers([TensorBoardLogger(tmp_path, resume_step=1)]) as logger:
        logger.log(Event("step", 2, 0, {"loss/gold": 20.0}))
    assert scalars(tmp_path) == {
        "loss/gold": [(1, 1.0), (2, 20.0)],
        "step/lr": [(1, 0.1)],
    }


def test_tensorboard_keeps_validation_apart(tmp_path):
    with Loggers([TensorBoardLogger(tmp_path)]) as logger:
        logger.log(Event("val", 3, 0, {"rsum": 50.0, "i2t/R@1": 2.0}))
    assert scalars(tmp_path) == {"val/rsum": [(3, 50.0)], "val/i2t/R@1": [(3, 2.0)]}


class Recorder:
    def __init__(self, calls, name):
        self.calls, self.name = calls, name

    def log(self, event):
        self.calls.append((self.name, event.step))

    def close(self):
        self.calls.append((self.name, "closed"))
        if self.name == "b":
            raise OSError("disk full")


def interrupted(loggers):
    with loggers:
        loggers.log(step(1))
        raise KeyboardInterrupt


def test_all_loggers_get_all_events_and_are_closed_whatever_happens():
    calls = []
    with pytest.raises(OSError, match="disk full"):
        interrupted(Loggers([Recorder(calls, "a"), Recorder(calls, "b")]))
    assert calls == [("a", 1), ("b", 1), ("b", "closed"), ("a", "closed")]
