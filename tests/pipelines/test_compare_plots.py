"""Plots of a comparison: what they show and say, and that their texts have room."""

from __future__ import annotations

import warnings
from itertools import combinations, pairwise, product
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from pipelines.compare.plot_spacing import apart
from pipelines.compare.plot_style import COLOURS, DPI, look, styled, text_width, wrapped
from pipelines.compare.plots import draw_plots, make_figures
from pipelines.compare.summary import NAMES, Compared, Row, Spread, Summary
from trainer.metrics import Difference

LONG = [
    "cca with the hubness correction and gold pairs as its banks",
    "a3vse with the network's own words from the classes and attributes of the feature network",
    "vsepp as published, with the hardest negatives only, trained for thirty epochs",
    "$x$ and $y_1$ are no mathematics",
    "_underlined at its beginning, which legends leave out",
    "awordthatisverymuchwiderthanallthatthereisroomforandmustthereforebebrokensomewhere",
    "scan, text to image",
    "vse-infty",
]


def make_row(label, ratio, mean=20.0, *, seeds=3, sd=1.0, changed=False):
    spread = Spread(mean, sd if seeds > 1 else None)
    recalls = {way: dict.fromkeys(NAMES, spread) for way in ("text_to_image", "image_to_text")}
    rsum = Spread(6 * mean, spread.sd)
    return Row(label, "a3vse", ratio, changed, tuple(range(seeds)), recalls, rsum, 1.0, 7)


def make_summary(rows=(), ablations=()):
    return Summary(
        "mine", "1,000 test images", "full", tuple(map(Compared, rows)), tuple(ablations)
    )


def make_lines(labels, ratios=(0.05, 0.2, 1.0), **values):
    return [
        make_row(label, ratio, 10 + 3 * number + 20 * ratio, **values)
        for ratio in ratios
        for number, label in enumerate(labels)
    ]


def make_ablation(labels, *, plain="a3vse", points=(-4.0, 0.0, 2.5), seeds=3, ratio=0.2):
    items = [Compared(make_row(plain, ratio))]
    for number, label in enumerate(labels):
        value = points[number % len(points)]
        difference = Difference(value, value - 1.5, value + 1.5, 0.5)
        row = make_row(label, ratio, seeds=seeds, changed=True)
        items.append(Compared(row, plain, difference, seeds))
    return items


def drawn(summary, name):
    """A figure, drawn, and the extents of its texts in pixels."""
    with styled():
        figure = make_figures(summary)[name]
        return figure, extents(figure)


def drawn_lines(rows):
    return drawn(make_summary(rows), "recall-over-ratio-text-to-image")


def drawn_bars(ablations):
    return drawn(make_summary((), ablations), "ablation")


def extents(figure):
    """Every text that is seen, and where it is: ``[(text, box), ...]``."""
    figure.set_dpi(DPI)  # as it is saved: letters are fitted to pixels
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = [
        *figure.texts,
        *(text for legend in figure.legends for text in legend.get_texts()),
        *(text for axes in figure.axes for text in axes.texts),
        *(axes.xaxis.label for axes in figure.axes),
        *(text for axes in figure.axes for text in left_titles(axes)),
        *(tick for axes in figure.axes for tick in ticks(axes)),
    ]
    seen = [text for text in found if text.get_text() and text.get_visible()]
    renderer = canvas.get_renderer()
    # Of an annotation the text alone, without its line.
    return [(text.get_text(), Text.get_window_extent(text, renderer)) for text in seen]


def left_titles(axes):
    """The text that ``get_title(loc="left")`` gives the words of."""
    words = axes.get_title(loc="left")
    return [text for text in axes.findobj(Text) if words and text.get_text() == words]


def ticks(axes):
    """Labels of the ticks that are drawn: some lie beyond the ends of the axes."""
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        for tick in axis.get_major_ticks():
            if min(low, high) <= tick.get_loc() <= max(low, high) and tick.label1.get_visible():
                yield tick.label1


def check_room(figure, found):
    """No text runs into another one, or over the edge of the figure."""
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in found:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} is cut off"
    for (first, box), (second, other) in combinations(found, 2):
        across = min(box.x1, other.x1) - max(box.x0, other.x0)
        down = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(across, down) < 1, f"{first!r} overlaps {second!r}"


def texts(path):
    names = (e.text for e in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"))
    return [name for name in names if name]


def test_plots_name_lines_and_bars(tmp_path):
    ablations = make_ablation(["a3vse, less"])
    rows = [*make_lines(["cca", "vsepp", "a3vse"], (0.1, 0.5)), ablations[1].row]
    files = draw_plots(make_summary(rows, ablations), tmp_path).files
    names = ("recall-over-ratio-text-to-image", "recall-over-ratio-image-to-text", "ablation")
    assert [path.name for path in files] == [f"{n}.{s}" for n in names for s in ("png", "svg")]
    for path in files[:4:2]:
        with Image.open(path) as picture:
            assert picture.size[0] == 2040
            assert round(picture.info["dpi"][0]) == 200
    lines, bars = texts(files[1]), texts(files[5])
    for label in ("cca", "vsepp", "a3vse"):
        assert lines.count(label) == 3  # a panel each
    assert "a3vse, less" not in lines  # a line needs two ratios
    assert {"10", "50"} <= set(lines)
    assert {"a3vse, less", "−4.0", "a3vse at 20 %: rsum 120.0"} <= set(bars)


def test_a_difference_of_zero_has_no_sign(tmp_path):
    found = texts(draw_plots(make_summary((), make_ablation(["a", "b", "c"])), tmp_path).files[1])
    assert {"−4.0", "0.0", "+2.5"} <= set(found)


def test_the_same_figures_give_the_same_picture(tmp_path):
    summary = make_summary(make_lines(LONG), make_ablation(LONG, plain="the plain one"))
    first = [path.read_bytes() for path in draw_plots(summary, tmp_path).files]
    assert len(first) == 6 - 2  # all are lines
    assert [path.read_bytes() for path in draw_plots(summary, tmp_path).files] == first


def test_a_variant_at_several_ratios_is_a_line_and_no_bar(tmp_path):
    rows = make_lines(["cca", "a3vse, less"])
    files = draw_plots(make_summary(rows, make_ablation(["a3vse, less"])), tmp_path).files
    assert "ablation" not in {path.stem for path in files}
    assert texts(files[1]).count("a3vse, less") == 3


def test_nothing_is_drawn_of_one_ratio_and_no_variant(tmp_path):
    summary = make_summary(make_lines(["cca", "a3vse"], (0.2,)))
    assert draw_plots(summary, tmp_path).files == ()
    assert make_figures(summary) == {}


RATIOS = (0.05, 0.2, 1.0)


@pytest.mark.parametrize(
    ("rows", "below"),
    [
        (make_lines(["cca", "a3vse"]), False),
        (make_lines(["cca", "cca, hubness correction", "a3vse"], (0.05, 0.1, 0.2, 0.5, 1)), False),
        (make_lines([f"model {number}" for number in range(12)]), False),
        (make_lines([f"model {number}" for number in range(13)]), True),
        (make_lines(LONG), True),
        (make_lines(LONG[:1]), True),
        (make_lines(["cca"], [n / 10 for n in range(1, 11)]), False),
        # Beside the end of a line others go on.
        ([*make_lines(["cca"]), *make_lines(["a3vse"], (0.05, 0.2))], True),
        # All in one place, at the bottom and at the top.
        ([make_row(f"model {n}", r, 0.1 + 20 * (r < 1)) for r in RATIOS for n in range(8)], False),
        ([make_row(f"model {n}", ratio, 20) for ratio in RATIOS for n in range(8)], False),
    ],
)
def test_names_of_lines_have_room(rows, below):
    figure, found = drawn_lines(rows)
    check_room(figure, found)
    assert bool(figure.legends) == below
    shown = [text.replace("\n", " ") for text, _ in found]
    for label in {row.label for row in rows}:
        # A word that had to be broken has a space in it.
        times = sum(name.replace(" ", "") == label.replace(" ", "") for name in shown)
        assert times == (1 if below else 3)
    for axes in figure.axes:
        title = next(box for text, box in found if text == axes.get_xlabel())
        assert title.width <= axes.bbox.width


@pytest.mark.parametrize("labels", [["less"], LONG, ["x" * 80], ["a b " * 40, "less"]])
@pytest.mark.parametrize("plain", ["a3vse", "the plain model " * 9, "y" * 120])
def test_labels_of_bars_have_room(labels, plain):
    groups = [
        *make_ablation(labels, plain=plain),
        *make_ablation(labels, plain=plain, ratio=0.5, points=(130.0, -99.9)),
    ]
    figure, found = drawn_bars(groups)
    check_room(figure, found)
    shown = [text.replace("\n", "").replace(" ", "") for text, _ in found]
    for label in labels:
        assert shown.count(label.replace(" ", "")) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"text.usetex": True},
        {"font.family": ["monospace"], "font.size": 20},
        {"savefig.bbox": "tight", "savefig.dpi": 30, "savefig.transparent": True},
        {"axes.facecolor": "black", "lines.linestyle": "--"},
    ],
)
def test_the_users_own_style_changes_nothing(tmp_path, settings):
    summary = make_summary(make_lines(["cca", "vsepp"]), make_ablation(["less"]))
    plain = [path.read_bytes() for path in draw_plots(summary, tmp_path).files]
    with matplotlib.rc_context(settings):
        assert [path.read_bytes() for path in draw_plots(summary, tmp_path).files] == plain
        # It is the user's again.
        assert all(matplotlib.rcParams[key] == value for key, value in settings.items())


def test_letters_that_the_font_lacks_are_named_once(tmp_path):
    labels = ["日本語", "द", *LONG]
    summary = make_summary(make_lines(labels), make_ablation([f"{x}, less" for x in labels]))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        plots = draw_plots(summary, tmp_path)
    assert len(plots.files) == 6
    assert plots.lacking == tuple(sorted("日本語द"))
    assert [str(warning.message) for warning in said] == []
    assert draw_plots(make_summary(make_lines(LONG)), tmp_path).lacking == ()


def test_warnings_of_anything_else_are_shown(tmp_path):
    lines = [make_row(label, r, 1e308, sd=1e308) for r in (0.1, 0.5) for label in ("cca", "日本")]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        plots = draw_plots(make_summary(lines), tmp_path)
    assert plots.lacking == ("日", "本")
    assert {warning.category for warning in said} == {RuntimeWarning}
    assert "overflow encountered" in str(said[0].message)


def test_lines_say_what_their_bands_are():
    def note(rows):
        return drawn_lines(rows)[1][1][0]

    start = "mine: recall on 1,000 test images; "
    lines = make_lines(["cca", "a3vse"])
    assert note(lines) == f"{start}bands: one standard deviation of 3 seeds"
    two = make_lines(["scan"], seeds=2)
    assert note([*lines, *two]) == f"{start}bands: one standard deviation of 2 to 3 seeds"
    one = make_lines(["scan"], seeds=1)
    assert note([*lines, *one]).endswith("of 3 seeds, none where there is one seed")
    assert note(one) == f"{start}one seed, and so no bands"
    gap = make_lines(["scan"], (0.05, 1.0))
    measured = "; lines have markers at the ratios that were measured"
    assert note([*lines, *gap]).endswith(f"of 3 seeds{measured}")


def test_bars_say_what_their_intervals_are():
    def note(items):
        return next(text for text, _ in drawn_bars(items)[1] if text.startswith("mine: "))

    end = " on 1,000 test images, with its 95 % paired bootstrap interval over images"
    assert note(make_ablation(["less"])) == f"mine: mean difference of 3 seeds{end}"
    assert note(make_ablation(["less"], seeds=1)) == f"mine: mean difference of one seed{end}"


def test_what_has_one_seed_says_so_and_has_no_band():
    rows = [*make_lines(["cca"]), *make_lines(["scan"], seeds=1)]
    figure, found = drawn_lines(rows)
    names = [text for text, _ in found]
    assert (names.count("cca"), names.count("scan (one seed)"), names.count("scan")) == (3, 3, 0)
    bands = [len(band.get_paths()) for band in figure.axes[0].collections]
    assert bands == [1, 0]
    names = [text for text, _ in drawn_bars(make_ablation(["less"], seeds=1))[1]]
    assert "less (one seed)" in names


def test_a_band_does_not_reach_to_a_ratio_with_one_seed():
    rows = [
        *(make_row("cca", ratio, 20) for ratio in (0.05, 0.1)),
        make_row("cca", 0.2, 20, seeds=1),
        make_row("cca", 1.0, 20),
    ]
    figure, _ = drawn_lines(rows)
    band, upright = figure.axes[0].collections
    widths = [np.ptp(path.vertices[:, 0]) for path in band.get_paths()]
    assert sorted(widths)[-1] == pytest.approx(0.05)  # from 5 % to 10 %, and of nothing at 100 %
    assert sum(width > 0 for width in widths) == 1
    ((low, high),) = upright.get_segments()
    assert (low.tolist(), high.tolist()) == ([1.0, 19], [1.0, 21])


def test_ratios_that_were_measured_have_markers():
    figure, _ = drawn_lines([*make_lines(["cca"]), *make_lines(["scan"], (0.05, 1.0))])
    for axes in figure.axes:
        first, second = axes.lines
        assert first.get_xdata().tolist() == [0.05, 0.2, 1.0]
        assert second.get_xdata().tolist() == [0.05, 1.0]
        assert "None" not in (first.get_marker(), second.get_marker())


def test_many_lines_look_different():
    looks = [look(number) for number in range(49)]
    assert len(set(looks)) == 49
    assert len({colour for colour, _ in looks[:7]}) == len(COLOURS)


def test_text_is_wrapped_by_its_width():
    with styled():
        for text in ("iiii iiii iiii iiii", "WWWW WWWW WWWW WWWW", "W" * 30, "", " "):
            lines = wrapped(text, 0.8, 9)
            assert max(text_width(line, 9) for line in lines) <= 0.8
            assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert len(wrapped("iiii iiii iiii iiii", 0.8, 9)) == 1
        assert len(wrapped("WWWW WWWW WWWW WWWW", 0.8, 9)) == 4


def least_moved(values, gap, low, high):
    """By brute force: of all ways to part values into blocks, each where it is moved least."""
    best, least = None, np.inf
    for cuts in product((False, True), repeat=len(values) - 1):
        starts = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), len(values)]
        places = []
        for start, end in pairwise(starts):
            # Where the first of the block is, between what those outside of it need.
            first = np.mean(np.subtract(values[start:end], gap * np.arange(end - start)))
            first = max(first, low + gap * (start + 0.5))
            first = min(first, high - gap * (len(values) - start - 0.5))
            places += [first + gap * place for place in range(end - start)]
        moved = np.sum(np.subtract(places, values) ** 2)
        if np.min(np.diff(places)) > gap - 1e-9 and moved < least:
            best, least = places, moved
    return best


def test_labels_are_moved_apart_and_no_more():
    generator = np.random.default_rng(0)
    # With room between the bounds, with hardly any, and beyond them.
    for low, high in ((-20, 30), (0, 10), (2, 8.5)):
        for _ in range(30):
            values = sorted(generator.uniform(0, 10, size=6))
            places = apart(values, 1.0, low, high)
            assert min(np.diff(places)) > 1 - 1e-9
            assert places[0] >= low + 0.5
            assert places[-1] <= high - 0.5
            assert places == pytest.approx(least_moved(values, 1.0, low, high))
    assert apart([0, 5, 5.2], 1.0, -9, 9) == pytest.approx([0, 4.6, 5.6])
    assert apart([0, 2, 4], 1.0, -9, 9) == [0, 2, 4]
    assert apart([1, 2, 4], 1.0, 0, 10) == [1, 2, 4]


def test_labels_without_room_are_refused():
    with pytest.raises(ValueError, match="no room"):
        apart([1, 2, 3], 1.0, 0, 2.5)
