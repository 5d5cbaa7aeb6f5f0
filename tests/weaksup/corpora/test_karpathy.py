from __future__ import annotations

import pytest

from weaksup.corpora import detect_format, read_corpus
from weaksup.errors import DataError


def image(filename, *captions, split="train", **more):
    sentences = [{"raw": caption, "tokens": caption.split()} for caption in captions]
    return {"filename": filename, "sentences": sentences, "split": split, **more}


def test_ids_captions_and_splits(write):
    path = write(
        "dataset.json",
        {
            "dataset": "coco",
            "images": [
                image("COCO_a.b.jpg", " A man . ", "Two men", filepath="val2014", split="restval"),
                image("COCO_a.b.jpg", "A dog", filepath="train2014", split="test"),
                image("plain.jpg", "A cat", split="val"),
            ],
        },
    )
    assert detect_format(path) == "karpathy"
    corpus = read_corpus(path)
    assert corpus.format == "karpathy"
    assert [image.id for image in corpus.images] == [
        "val2014/COCO_a.b.jpg",
        "train2014/COCO_a.b.jpg",
        "plain.jpg",
    ]
    assert corpus.images[0].captions == ("A man .", "Two men")
    assert [image.split for image in corpus.images] == ["train", "test", "val"]
    assert corpus.notes == ()


def test_any_number_of_captions_and_repeated_ones(write):
    path = write("d.json", {"images": [image("a.jpg", "x", "x", "y"), image("b.jpg", "z")]})
    corpus = read_corpus(path)
    assert [image.captions for image in corpus.images] == [("x", "x", "y"), ("z",)]


def test_empty_captions_are_dropped_and_counted(write):
    path = write("d.json", {"images": [image("a.jpg", "x", "  ", ""), image("b.jpg", "\n")]})
    corpus = read_corpus(path)
    assert [image.id for image in corpus.images] == ["a.jpg"]
    assert corpus.images[0].captions == ("x",)
    assert corpus.notes[0] == "3 empty captions dropped, first at images[0]"
    assert corpus.notes[1] == "1 image without captions dropped, such as b.jpg"


def test_uncaptioned_test_image_stays_known_so_that_it_is_not_trained_on(write):
    path = write("d.json", {"images": [image("a.jpg", "x"), image("b.jpg", split="test")]})
    corpus = read_corpus(path)
    assert corpus.images[1].id == "b.jpg"
    assert corpus.images[1].split is None
    assert corpus.images[1].captions == ()
    assert "used nowhere, such as b.jpg" in corpus.notes[0]


def test_image_listed_twice_keeps_all_captions(write):
    path = write("d.json", {"images": [image("a.jpg", "x"), image("./a.jpg", "y")]})
    corpus = read_corpus(path)
    assert [image.captions for image in corpus.images] == [("x", "y")]
    assert "listed again" in corpus.notes[0]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([image("a.jpg", "x"), image("a.jpg", "y", split="test")], r"images\[1\].*images\[0\]"),
        ([image("a.jpg", "x", split="tran")], r"images\[0\].*'tran'.*'train'"),
        ([image("a.jpg", "x", split=3)], r"images\[0\].*'split' is int"),
        ([{"file_name": "a.jpg", "sentences": []}], r"images\[0\].*'filename' is missing.*file_n"),
        ([image("a.jpg", "x"), {"filename": "a.jpg"}], r"images\[1\].*'sentences' is missing"),
        ([{"filename": "a.jpg", "sentences": [{"tokens": []}]}], r"images\[0\].sentences\[0\]"),
        ([{"filename": 3, "sentences": []}], r"images\[0\].*'filename' is int"),
        ([image(" ", "x")], r"images\[0\].*blank"),
        ([None, image("a.jpg", "x")], r"images\[0\].*expected an object"),
        ([image("a.jpg")], "no caption"),
    ],
)
def test_what_is_wrong_and_where(write, images, expected):
    path = write("d.json", {"images": images})
    with pytest.raises(DataError, match=expected) as caught:
        read_corpus(path)
    assert str(path) in caught.value.message


def test_cut_off_file(write):
    path = write("d.json", '{"images": [\n{"filename": "a.jpg", "sentences": [{"raw": "A m')
    with pytest.raises(DataError, match="line 2, column 45: malformed JSON") as caught:
        read_corpus(path)
    assert "cut off" in caught.value.hint


def test_half_a_surrogate_pair_does_not_break_what_is_written_later(write):
    path = write(
        "d.json", '{"images": [{"filename": "a.jpg", "sentences": [{"raw": "x \\ud83d"}]}]}'
    )
    read_corpus(path).images[0].captions[0].encode("utf-8")
