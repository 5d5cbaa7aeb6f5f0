"""Charts: where points stand, and that text is text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pipelines.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    line_chart,
    ticks,
)


def draw(*lines, **options):
    markup = line_chart(lines, **{"title": "A chart", "x_label": "step", **options})
    return ElementTree.fromstring(f"<div>{markup}</div>")


def points(chart, number=0):
    text = chart.findall("svg/polyline")[number].get("points")
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def test_least_and_most_stand_at_the_edges():
    found = points(draw(Line("loss", [1, 2, 5], [4.0, 10.0, 2.0])))
    assert [x for x, _ in found] == pytest.approx(
        [LEFT, LEFT + (WIDTH - LEFT - RIGHT) / 4, WIDTH - RIGHT], abs=0.1
    )
    height = HEIGHT - TOP - BOTTOM
    assert [y for _, y in found] == pytest.approx([TOP + height * 0.75, TOP, TOP + height], abs=0.1)


def test_several_lines_share_their_axes_and_have_a_legend():
    chart = draw(Line("images", [1, 2], [0.5, 0.6]), Line("texts", [1, 2], [0.5, 1.0]))
    assert points(chart)[0] == points(chart, 1)[0]
    assert points(chart)[1][1] > points(chart, 1)[1][1] == TOP
    assert [span[0].tail for span in chart.findall("p/span")] == ["images", "texts"]
    assert not draw(Line("one", [1, 2], [0.5, 0.6])).findall("p")


def test_a_level_is_inside_the_chart():
    chart = draw(Line("accuracy", [1, 2], [0.8, 0.9]), level=(0.5, "cannot tell"))
    level = next(line for line in chart.findall("svg/line") if line.get("class") == "level")
    assert float(level.get("y1")) == pytest.approx(HEIGHT - BOTTOM)


@pytest.mark.parametrize("values", [[3.0, 3.0], [0.0, 0.0], [7.0]])
def test_a_line_that_does_not_rise_can_be_drawn(values):
    chart = draw(Line("flat", list(range(1, len(values) + 1)), values))
    for x, y in points(chart):
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM
    assert bool(chart.findall("svg/circle")) == (len(values) == 1)


def test_nothing_is_no_chart():
    assert line_chart([Line("loss", [], [])], title="A", x_label="step") == ""


def test_names_are_text_and_figures_are_told():
    title = draw(Line("<b>&loss", [1, 2], [4.0, 2.0])).find("svg/title").text
    assert title == "A chart. <b>&loss: from 4 to 2, least 2, most 4."


def test_many_points_are_averaged():
    many = list(range(10 * MOST_POINTS))
    found = points(draw(Line("loss", many, [float(value % 2) for value in many])))
    assert len(found) == MOST_POINTS
    # Each mean of ten neighbours is a half.
    assert len({y for _, y in found}) == 1


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, [0, 0.5, 1]),
        (0.031, 0.0352, False, [0.032, 0.034]),
        (1, 8, True, [2, 4, 6, 8]),
        (1, 2, True, [1, 2]),
        (-3, 12, False, [0, 5, 10]),
        (1, 376, False, [100, 200, 300]),
    ],
)
def test_ticks_are_round(low, high, whole, expected):
    assert ticks(low, high, whole=whole) == pytest.approx(expected)
