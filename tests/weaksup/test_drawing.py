"""What pictures share."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from weaksup.drawing import (
    BOX_COLOURS,
    LABEL,
    NamedBox,
    draw_boxes,
    fitted,
    font,
    pixels,
    shortened,
    wrapped,
)


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (1, 3000), (30, 20)])
def test_a_fitted_picture_keeps_its_shape_inside(size: tuple[int, int]) -> None:
    found = fitted(Image.new("RGB", size), width=200, height=120)
    assert found.width <= 200
    assert found.height <= 120
    assert found.width == 200 or found.height == 120
    assert found.width / found.height == pytest.approx(size[0] / size[1], abs=0.05)


def test_boxes_reach_the_edges() -> None:
    assert pixels((0, 0, 1, 1), (50, 20)) == (0, 0, 49, 19)


def test_a_picture_lower_than_a_name_gets_its_box() -> None:
    picture = Image.new("RGB", (200, LABEL - 5), (255, 255, 255))
    draw_boxes(picture, [NamedBox((0, 0, 1, 1), "kite")])
    assert (np.asarray(picture) == BOX_COLOURS[0]).all(-1).any()


def test_lines_are_as_wide_as_fits() -> None:
    letters = font(LABEL)
    text = "two children build a castle of sand near the water"
    lines = wrapped(text, letters=letters, width=120)
    assert " ".join(lines) == text
    assert all(letters.getlength(line) <= 120 for line in lines)
    # No line has room for the first word of the next one.
    for line, following in pairwise(lines):
        assert letters.getlength(f"{line} {following.split()[0]}") > 120


def test_what_is_too_wide_is_cut() -> None:
    letters = font(LABEL)
    assert shortened("short", letters=letters, width=200) == "short"
    cut = shortened("a very long name of a file.jpg", letters=letters, width=80)
    assert cut.endswith("…")
    assert letters.getlength(cut) <= 80
    assert "a very long name".startswith(cut[:-1])
