"""The demo's picture: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipelines import picture
from pipelines.picture import Example, draw_examples
from weaksup import drawing
from weaksup.drawing import NamedBox

SENTENCE = "a small red ball lies left of a boat"


@pytest.fixture
def files(tmp_path):
    paths = []
    for number, size in enumerate(((208, 160), (160, 208), (208, 160))):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", size, (90 + number, 90, 200)).save(path)
        paths.append(path)
    return paths


def draw(*examples):
    return np.asarray(draw_examples(examples, title="A title", subtitle="and what it means"))


def example(files, *, results, boxes=(), sentence=SENTENCE):
    return Example(files[0], tuple(boxes), sentence, tuple(results), rank=9)


def where(pixels, colour):
    """x1 y1 x2 y2 of the pixels of one colour; None where there is none."""
    rows, columns = np.nonzero((pixels == colour).all(-1))
    if not len(rows):
        return None
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def first_result_column():
    return picture.MARGIN + picture.SCENE[0] + picture.COLUMN_GAP


def test_only_the_correct_result_is_framed(files):
    missed = draw(example(files, results=files[1:]))
    assert where(missed, picture.CORRECT) is None
    for place in range(3):
        results = [*files[1:]]
        results.insert(place, files[0])
        frame = where(draw(example(files, results=results)), picture.CORRECT)
        left = first_result_column() + place * (picture.RESULT + picture.RESULT_GAP)
        assert (frame[0], frame[2]) == (left, left + picture.RESULT)


def test_boxes_stand_where_they_were_found(files):
    box = NamedBox((0.25, 0.5, 0.75, 1.0), "ball")
    x1, y1, x2, y2 = where(draw(example(files, results=files, boxes=[box])), drawing.BOX_COLOURS[0])
    width, height = picture.SCENE  # of the shape of the scene
    expected = (0.25 * width + picture.MARGIN, 0.75 * width + picture.MARGIN)
    assert (x1, x2) == pytest.approx(expected, abs=2)
    assert y2 == pytest.approx(picture.HEADER + height, abs=2)
    assert y1 < picture.HEADER + 0.5 * height  # the name stands on top of the box


def test_names_do_not_hide_one_another(files):
    boxes = [NamedBox((0.1, 0.1, 0.4, 0.9), "first"), NamedBox((0.1, 0.1, 0.4, 0.9), "second")]
    pixels = draw(example(files, results=files, boxes=boxes))
    # Both boxes are the same: the second's lines cover the first's, and only its name is left.
    first, second = (where(pixels, colour) for colour in drawing.BOX_COLOURS[:2])
    assert first is not None
    assert first[3] <= second[1] + drawing.LABEL + 6 or first[1] >= second[3]


def test_a_box_at_the_edge_has_its_name_inside(files):
    boxes = [NamedBox((0.95, 0.0, 1.0, 0.05), "a very long name of a thing")]
    x1, y1, x2, _ = where(draw(example(files, results=files, boxes=boxes)), drawing.BOX_COLOURS[0])
    assert x1 >= picture.MARGIN
    assert x2 <= picture.MARGIN + picture.SCENE[0]
    assert y1 >= picture.HEADER


def test_the_picture_grows_by_its_rows_and_long_sentences_stay_inside(files):
    one = draw(example(files, results=files))
    two = draw(example(files, results=files), example(files, results=files, sentence="word " * 60))
    assert two.shape[0] - one.shape[0] == picture.SCENE[1] + picture.ROW_GAP
    assert two.shape[1] == one.shape[1]
    assert (two[:, -picture.MARGIN :] == drawing.PAPER).all()
