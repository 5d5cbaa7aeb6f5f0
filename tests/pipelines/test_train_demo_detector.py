"""The training script of the demo's detector, in two tiny steps."""

from __future__ import annotations

import math

import torch

from pipelines.scenes import KINDS
from pipelines.train_demo_detector import SceneBatches, Settings, measure, save, train
from weaksup.detectors.demo import build_demo_model, load_demo_detector

SETTINGS = Settings(steps=2, batch_size=2)


def test_batches_depend_on_the_seed_and_hold_one_format():
    first, again = SceneBatches(SETTINGS)[1], SceneBatches(SETTINGS)[1]
    other = SceneBatches(Settings(steps=2, batch_size=2, seed=1))[1]
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert not torch.equal(first[0][0], other[0][0])
    assert len({picture.shape for picture in first[0]}) == 1
    for target in first[1]:
        assert target["boxes"].shape == (len(target["labels"]), 4)
        assert target["labels"].min() >= 1


def test_training_changes_the_weights_and_what_is_saved_can_be_loaded(tmp_path):
    torch.manual_seed(0)
    model = build_demo_model(KINDS)
    before = model.backbone.stem[0][0].weight.clone()
    steps = list(train(model, SETTINGS))
    assert [step for step, _ in steps] == [1, 2]
    assert all(math.isfinite(value) for _, losses in steps for value in losses.values())
    assert not torch.equal(model.backbone.stem[0][0].weight, before)

    save(model, tmp_path, labels=KINDS)
    detector = load_demo_detector(folder=tmp_path, device="cpu")
    assert tuple(detector.objects) == KINDS
    assert 0 <= measure(detector, scenes=2) <= 1
