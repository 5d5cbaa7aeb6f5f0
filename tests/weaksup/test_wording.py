"""Numbers and lists in messages."""

from __future__ import annotations

import numpy as np
import pytest

from weaksup.wording import counted, decimals, first_few, rounded_together


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, "image"), "1 image"),
        ((0, "image"), "0 images"),
        ((1234, "image"), "1,234 images"),
        ((1, "alias", "aliases"), "1 alias"),
        ((2, "image is", "images are"), "2 images are"),
    ],
)
def test_the_noun_goes_with_its_number(arguments, text):
    assert counted(*arguments) == text


@pytest.mark.parametrize(
    ("number", "options", "text"),
    [
        (0, {}, ""),
        (1, {}, "0"),
        (3, {}, "0, 1, 2"),
        (4, {}, "0, 1, 2 and 1 more"),
        (1003, {"separator": "; "}, "0; 1; 2; and 1,000 more"),
        (3, {"most": 1}, "0 and 2 more"),
    ],
)
def test_a_long_list_is_cut_short(number, options, text):
    assert first_few([str(each) for each in range(number)], **options) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.004, "0.00"), (-0.0, "0.00"), (-0.006, "-0.01"), (2 / 3, "0.67"), (12, "12.00")],
)
def test_zero_has_no_sign(value, text):
    assert decimals(value, 2) == text


def test_thirds_sum_to_one():
    assert rounded_together([1 / 3] * 3, digits=2) == [0.34, 0.33, 0.33]
    assert rounded_together([], digits=2) == []


@pytest.mark.parametrize("digits", [0, 1, 3])
def test_what_is_shown_adds_up(digits):
    rng = np.random.default_rng(0)
    for size in (1, 4, 30):
        values = rng.normal(size=size).tolist()
        shown = rounded_together(values, digits=digits)
        assert round(sum(shown), digits) == round(sum(values), digits)
        for value, found in zip(values, shown, strict=True):
            assert abs(value - found) < 10.0**-digits
            assert round(found, digits) == found
