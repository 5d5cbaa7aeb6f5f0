"""Suppression and selection against naive references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from weaksup.detectors.select import class_wise_nms, clip_boxes, select_regions


def random_boxes(generator, count):
    corners = generator.uniform(0, 100, (count, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


@pytest.mark.parametrize("count", [0, 1, 2, 40, 300])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_nms_is_torchvisions_within_each_label(count, threshold):
    generator = np.random.default_rng(count)
    boxes = random_boxes(generator, count)
    scores = generator.permutation(np.linspace(0, 1, count, dtype=np.float32))
    labels = generator.integers(0, 3, count).astype(np.int32)
    expected = []
    for label in range(3):
        rows = np.flatnonzero(labels == label)
        kept = nms(torch.from_numpy(boxes[rows]), torch.from_numpy(scores[rows]), threshold)
        expected += rows[kept.numpy()].tolist()
    expected.sort(key=lambda row: -scores[row])
    got = class_wise_nms(boxes, scores, labels, threshold=threshold, enough=400)
    assert got.tolist() == expected
    few = class_wise_nms(boxes, scores, labels, threshold=threshold, enough=5)
    assert few.tolist() == expected[:5]


def test_nms_keeps_the_first_of_equal_boxes_with_equal_scores():
    boxes = np.array([[0, 0, 4, 4]] * 3, np.float32)
    kept = class_wise_nms(
        boxes, np.ones(3, np.float32), np.array([1, 1, 2], np.int32), threshold=0.5, enough=9
    )
    assert kept.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (1, 10, [3, 0]),  # what is over the threshold
        (4, 10, [3, 0, 2]),  # filled up to 4 with the whole image
        (9, 10, [3, 0, 2, 1]),  # as far as there are candidates
        (1, 2, [3]),
        (1, 1, []),
    ],
)
def test_select_counts_the_whole_image(least, most, expected):
    scores = np.array([0.5, 0.1, 0.2, 0.9], np.float32)
    got = select_regions(scores, score_threshold=0.3, min_regions=least, max_regions=most)
    assert got.tolist() == expected


def test_select_takes_a_score_at_the_threshold_and_keeps_the_order_of_equals():
    scores = np.array([0.5, 0.25, 0.5, 0.25], np.float32)
    got = select_regions(scores, score_threshold=0.25, min_regions=1, max_regions=4)
    assert got.tolist() == [0, 2, 1]


def test_clip():
    boxes = np.array([[-5, 2, 50, 60], [1, 2, 3, 4]], np.float32)
    assert clip_boxes(boxes, size=(20, 30)).tolist() == [[0, 2, 30, 20], [1, 2, 3, 4]]
