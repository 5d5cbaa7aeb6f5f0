"""Average precision against examples worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.average_precision import (
    Boxes,
    average_precision,
    intersection_over_union,
    mean_average_precision,
)

LEFT, RIGHT, NOWHERE = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)


def boxes(*rows):
    """Rows of (box, label, score)."""
    return Boxes(
        np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.float32),
    )


def test_intersection_over_union_of_worked_pairs():
    first = np.array([LEFT, NOWHERE], dtype=np.float32)
    second = np.array([LEFT, (5, 0, 15, 10), RIGHT], dtype=np.float32)
    expected = [[1, 50 / 150, 0], [0, 0, 0]]
    np.testing.assert_allclose(intersection_over_union(first, second), expected, rtol=1e-6)


def test_a_wrong_box_between_two_right_ones():
    true = [boxes((LEFT, 0, 1), (RIGHT, 0, 1))]
    found = [boxes((LEFT, 0, 0.9), (NOWHERE, 0, 0.8), (RIGHT, 0, 0.7))]
    # Recall 1/2 at precision 1, then recall 1 at precision 2/3.
    assert average_precision(found, true, label=0) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_better_precision_at_a_higher_recall_counts():
    true = [boxes((LEFT, 0, 1), (RIGHT, 0, 1))]
    found = [boxes((NOWHERE, 0, 0.9), (LEFT, 0, 0.8), (RIGHT, 0, 0.7))]
    # Precisions 0, 1/2, 2/3: at both recalls the best that follows is 2/3.
    assert average_precision(found, true, label=0) == pytest.approx(2 / 3)


def test_a_second_box_on_the_same_object_is_wrong():
    true = [boxes((LEFT, 0, 1), (RIGHT, 0, 1))]
    found = [boxes((LEFT, 0, 0.9), ((1, 0, 11, 10), 0, 0.8))]
    assert average_precision(found, true, label=0) == pytest.approx(0.5)


def test_boxes_match_within_their_own_image_and_label():
    true = [boxes((LEFT, 0, 1)), boxes((RIGHT, 1, 1))]
    swapped = [boxes((RIGHT, 1, 0.9)), boxes((LEFT, 0, 0.9))]
    mislabelled = [boxes((LEFT, 1, 0.9)), boxes((RIGHT, 0, 0.9))]
    for found in (swapped, mislabelled):
        assert mean_average_precision(found, true, labels=2) == 0


def test_the_mean_leaves_out_labels_that_do_not_occur():
    true = [boxes((LEFT, 0, 1), (RIGHT, 2, 1))]
    found = [boxes((LEFT, 0, 0.9))]
    assert math.isnan(average_precision(found, true, label=1))
    assert mean_average_precision(found, true, labels=3) == pytest.approx(0.5)
