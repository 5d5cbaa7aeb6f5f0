"""The picture of one image: what is drawn where."""

from __future__ import annotations

import numpy as np
from PIL import Image

from weaksup.drawing import BOX_COLOURS, PAPER, NamedBox
from weaksup.inspect.picture import (
    HEADER,
    MARGIN,
    SAID,
    Seen,
    Weighed,
    draw_inspection,
    region_weights,
    shaded,
    word_weights,
)

GREY = Image.new("RGB", (100, 80), (200, 200, 200))
SEEN = Seen(
    "beach/001.jpg",
    "100 x 80 pixels",
    (NamedBox((0.1, 0.2, 0.5, 0.9), "small red dog", 0.83),),
    ((0.6, 0.1, 0.9, 0.4),),
    (("seashore", 0.4),),
)
WEIGHED = Weighed(
    sentence="a dog runs",
    summary="run a3vse",
    boxes=np.array([[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.9]], np.float32),
    names=("", "dog"),
    regions=np.array([0.25, 0.75], np.float32),
    words=(("a", 0.1, True), ("dog", 0.6, True), ("runs", 0.3, False)),
    parts=(("network", 0.2, 0.5, 0.1), ("linear", 0.8, -0.1, -0.08)),
    evidence=(("dog", 0.83, True), ("animal", 0.7, False)),
    notes=("What it means.",),
)


def test_the_margins_are_empty_and_a_sentence_makes_it_longer() -> None:
    alone = np.asarray(draw_inspection(GREY, SEEN, None))
    both = np.asarray(draw_inspection(GREY, SEEN, WEIGHED))
    assert both.shape[1] == alone.shape[1]
    assert both.shape[0] > 1.5 * alone.shape[0]
    for pixels in (alone, both):
        assert (pixels[:, :MARGIN] == PAPER).all()
        assert (pixels[:, -MARGIN:] == PAPER).all()
        assert (pixels[-MARGIN:] == PAPER).all()
    assert (both[:HEADER] == alone[:HEADER]).all()


def test_a_word_of_the_sentence_is_green() -> None:
    def green(weighed: Weighed) -> bool:
        return bool((np.asarray(draw_inspection(GREY, SEEN, weighed)) == SAID).all(-1).any())

    assert green(WEIGHED)
    fields = {**WEIGHED.__dict__, "evidence": (("animal", 0.7, False),)}
    assert not green(Weighed(**fields))


def test_weights_sum_to_a_hundred_with_what_is_not_shown() -> None:
    raw = np.random.default_rng(0).random(30).astype(np.float32)
    fields = {**WEIGHED.__dict__, "regions": raw / raw.sum(), "names": ("",) * 30}
    first, rest = region_weights(Weighed(**fields))
    assert [place for place, _ in first] == np.argsort(-raw)[:8].tolist()
    assert rest is not None
    assert rest[0] == 22
    assert round(sum(percent for _, percent in first) + rest[1], 6) == 100
    words = tuple((word, 1 / 3, True) for word in ("a", "dog", "runs"))
    shown = word_weights(Weighed(**{**WEIGHED.__dict__, "words": words}))
    assert [percent for _, percent, _ in shown] == [33.4, 33.3, 33.3]


def test_boxes_have_the_colour_of_their_line_in_the_list() -> None:
    pixels = np.asarray(draw_inspection(GREY, SEEN, None))
    columns = np.flatnonzero((pixels == BOX_COLOURS[0]).all(-1).any(0))
    # The box, its name, and the square and the bar in the list on the right.
    middle = pixels.shape[1] * 2 // 3
    assert (columns < middle).any()
    assert (columns > middle).any()


def test_shading_follows_the_weights_that_cover_a_place() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 0.5, 0.5]], np.float32)
    light = np.asarray(shaded(GREY, boxes, np.array([0.5, 0.3, 0.2], np.float32)))[..., 0] / 200
    # Masses 1, 0.8 and 0.5: between a quarter and all of the brightness.
    assert light[10, 10].round(2) == 1.0
    assert light[70, 10].round(2) == round(0.25 + 0.75 * 0.6, 2)
    assert light[10, 90].round(2) == 0.25


def test_equal_weights_shade_nothing() -> None:
    boxes = np.array([[0, 0, 1, 1]], np.float32)
    assert (np.asarray(shaded(GREY, boxes, np.ones(1, np.float32))) == 200).all()


def test_many_regions_and_long_names_stay_inside() -> None:
    many = tuple(NamedBox((0.1, 0.1, 0.2, 0.2), "very long name " * 9, 0.5) for _ in range(40))
    seen = Seen("x" * 400, "y" * 400, many, (), ())
    pixels = np.asarray(draw_inspection(GREY, seen, None))
    assert (pixels[:, -MARGIN:] == PAPER).all()
