"""Line charts as inline SVG: no script, no file beside the page, colours from its style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 30
MOST_POINTS = 240
COLOURS = ("--line-1", "--line-2", "--line-3")


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        x, y: of its points, x rising; as many of one as of the other.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    level: tuple[float, str] | None = None,
    mark: tuple[float, float] | None = None,
    whole_x: bool = False,
) -> Markup:
    """A chart of one or more lines.

    Args:
        lines: three at most.
        title: what assistive technology reads, with the range and the last value of each line.
        x_label: below the axis.
        level: y of a dashed line, and its name.
        mark: x and y of a point that is marked.
        whole_x: whether ticks of x are whole numbers.
    """
    lines = [_thinned(line) for line in lines if len(line.x)]
    if not lines:
        return Markup("")
    low_x, high_x = _range([value for line in lines for value in line.x])
    values = [value for line in lines for value in line.y]
    low_y, high_y = _range([*values, level[0]] if level else values)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT)
        return across, TOP + (high_y - y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM)

    parts = [Markup("<title>{}</title>").format(_described(title, lines))]
    for value in ticks(low_y, high_y):
        _, y = place(low_x, value)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 3.5, _number(value))
        )
    for value in ticks(low_x, high_x, whole=whole_x):
        x, _ = place(value, low_y)
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x, HEIGHT - BOTTOM + 14, _number(value)
            )
        )
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(
        Markup('<text class="label" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            middle, HEIGHT - 3, x_label
        )
    )
    if level is not None:
        _, y = place(low_x, level[0])
        parts.append(
            Markup(
                '<line class="level" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="label" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(LEFT, WIDTH - RIGHT, y, y, WIDTH - RIGHT, y - 4, level[1])
        )
    for line, colour in zip(lines, COLOURS, strict=False):
        points = " ".join(
            "{:.1f},{:.1f}".format(*place(x, y)) for x, y in zip(line.x, line.y, strict=True)
        )
        parts.append(
            Markup('<polyline class="line" style="stroke:var({})" points="{}"/>').format(
                colour, points
            )
        )
        if len(line.x) == 1:
            parts.append(_dot(*place(line.x[0], line.y[0]), colour))
    if mark is not None:
        parts.append(_dot(*place(*mark), COLOURS[0]))
    svg = Markup('<svg viewBox="0 0 {} {}" role="img">{}</svg>').format(
        WIDTH, HEIGHT, Markup("").join(parts)
    )
    return svg if len(lines) == 1 else svg + _legend(lines)


def _dot(x: float, y: float, colour: str) -> Markup:
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4" style="fill:var({})"/>').format(
        x, y, colour
    )


def _legend(lines: Sequence[Line]) -> Markup:
    items = [
        Markup('<span><i style="background:var({})"></i>{}</span>').format(colour, line.name)
        for line, colour in zip(lines, COLOURS, strict=False)
    ]
    return Markup('<p class="legend">{}</p>').format(Markup("").join(items))


def _described(title: str, lines: Sequence[Line]) -> str:
    ends = "; ".join(
        f"{line.name}: from {_number(line.y[0])} to {_number(line.y[-1])}, "
        f"least {_number(min(line.y))}, most {_number(max(line.y))}"
        for line in lines
    )
    return f"{title}. {ends}."


def _thinned(line: Line) -> Line:
    """Neighbours averaged, where there are more points than pixels can tell apart."""
    size = math.ceil(len(line.x) / MOST_POINTS)
    if size <= 1:
        return line
    starts = range(0, len(line.x), size)
    means = [
        [sum(values[at : at + size]) / len(values[at : at + size]) for at in starts]
        for values in (line.x, line.y)
    ]
    return Line(line.name, *means)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    return low, high


def ticks(low: float, high: float, *, whole: bool = False, wanted: int = 4) -> list[float]:
    """Round numbers from ``low`` to ``high``: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / wanted
    power: float = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    if whole:
        step = max(1.0, float(round(step)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _number(value: float) -> str:
    return str(escape(f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"))
