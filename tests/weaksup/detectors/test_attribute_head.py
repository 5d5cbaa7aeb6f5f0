from __future__ import annotations

import pytest
import torch

from weaksup.detectors.attribute_head import SLOTS, THRESHOLD, surest
from weaksup.detectors.build import DetectorOptions, build_detector
from weaksup.errors import UsageError


def test_the_surest_attributes_above_the_threshold():
    chances = torch.tensor([[0.05, 0.6, 0.35], [0.09, 0.09, 0.09], [THRESHOLD, 0.2, 0.7]])
    expected = [[1, 2], [], [2, 1]]
    assert surest(chances).tolist() == [rows + [-1] * (SLOTS - len(rows)) for rows in expected]
    many = torch.full((1, 9), 0.11)
    assert (surest(many) >= 0).sum() == SLOTS


def test_detectors_without_such_a_head_take_no_attribute_names():
    options = DetectorOptions(attribute_labels=("red",))
    with pytest.raises(UsageError, match="the detector demo, which finds no attributes"):
        build_detector("demo", options)
