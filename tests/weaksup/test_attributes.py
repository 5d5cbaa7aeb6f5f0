"""Attribute words: colours against known ones, places against arithmetic."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from weaksup.attributes import ATTRIBUTES, COLOURS, SLOTS, describe


def words(pixels: np.ndarray, *boxes: tuple[float, float, float, float]) -> list[list[str]]:
    rows = describe(pixels, np.array(boxes, np.float32).reshape(-1, 4))
    return [[ATTRIBUTES[row] for row in line if row >= 0] for line in rows]


def canvas(colour: tuple[int, int, int], height: int = 200, width: int = 300) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


CENTRE = (120, 80, 180, 120)  # 4 % of the area: neither small nor large, in the middle

KNOWN = {
    "black": [(0, 0, 0), (20, 22, 18)],
    "white": [(255, 255, 255), (235, 235, 230)],
    "grey": [(128, 128, 128), (95, 98, 100)],
    "red": [(255, 0, 0), (200, 30, 30)],
    "orange": [(255, 150, 0), (240, 120, 20)],
    "yellow": [(255, 255, 0), (250, 220, 40)],
    "green": [(0, 128, 0), (60, 160, 60), (90, 120, 40)],
    "blue": [(0, 0, 255), (40, 80, 180), (130, 190, 230)],
    "purple": [(128, 0, 128), (100, 30, 160)],
    "pink": [(255, 192, 203), (250, 110, 180)],
    "brown": [(139, 69, 19), (101, 67, 33), (200, 165, 125)],
}


def test_every_basic_colour_has_known_examples() -> None:
    assert set(KNOWN) == set(COLOURS)


@pytest.mark.parametrize(("name", "rgb"), [(n, c) for n, cs in KNOWN.items() for c in cs])
def test_names_known_colours(name: str, rgb: tuple[int, int, int]) -> None:
    assert words(canvas(rgb), CENTRE) == [[name]]


def test_colour_comes_from_the_middle_of_the_box() -> None:
    pixels = canvas((0, 128, 0))
    pixels[70:130, 105:195] = (255, 0, 0)  # a red thing on grass
    assert words(pixels, (60, 40, 240, 160)) == [["red"]]


def test_two_colours_the_surer_first() -> None:
    pixels = canvas((255, 255, 255))
    pixels[:, :154] = 0
    assert words(pixels, CENTRE) == [["black", "white"]]


def test_no_colour_without_agreement() -> None:
    patches = canvas((128, 128, 128))  # half grey, the rest split: nothing is sure
    patches[:, 120:135] = (139, 69, 19)
    patches[:, 165:180] = (20, 20, 20)
    patches[100:, 135:150] = (240, 240, 240)
    patches[:100, 150:165] = (60, 100, 50)
    assert words(patches, CENTRE) == [[]]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((120, 80, 180, 120), []),
        ((0, 80, 60, 120), ["left"]),
        ((240, 80, 300, 120), ["right"]),
        ((120, 0, 180, 40), ["top"]),
        ((120, 160, 180, 200), ["bottom"]),
        ((0, 0, 60, 40), ["left", "top"]),
        ((140, 90, 160, 110), ["small"]),
        ((280, 190, 300, 200), ["small", "right", "bottom"]),
        ((30, 20, 270, 180), ["large"]),
        ((0, 0, 100, 200), ["left"]),
    ],
)
def test_size_and_position(box: tuple[float, float, float, float], expected: list[str]) -> None:
    assert words(canvas((255, 0, 0)), box) == [["red", *expected]]


def test_the_whole_image_has_a_colour_alone() -> None:
    assert words(canvas((0, 0, 255)), (0, 0, 300, 200)) == [["blue"]]


def test_shape_dtype_and_padding() -> None:
    boxes = np.array([CENTRE, (0, 0, 300, 200)], np.float32)
    rows = describe(canvas((0, 0, 0)), boxes)
    assert rows.shape == (2, SLOTS)
    assert rows.dtype == np.int32
    assert rows[0].tolist() == [ATTRIBUTES.index("black")] + [-1] * (SLOTS - 1)
    assert describe(canvas((0, 0, 0)), np.zeros((0, 4), np.float32)).shape == (0, SLOTS)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (7, 3)])
def test_boxes_outside_and_tiny_images(size: tuple[int, int]) -> None:
    height, width = size
    pixels = canvas((255, 0, 0), height, width)
    boxes = [(-50, -50, 2 * width, 2 * height), (width, height, width, height), (0, 0, 0.2, 0.2)]
    assert all(line[0] == "red" for line in words(pixels, *boxes))


def test_a_box_does_not_depend_on_its_neighbours_nor_on_threads() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    corners = rng.uniform(0, 300, (36, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    together = describe(pixels, boxes)
    alone = np.concatenate([describe(pixels, box[None]) for box in boxes])
    np.testing.assert_array_equal(together, alone)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: describe(pixels, boxes), range(8)):
            np.testing.assert_array_equal(rows, together)
