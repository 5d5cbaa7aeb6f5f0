from __future__ import annotations

import json

import pytest

from weaksup.corpora import detect_format, read_corpus
from weaksup.errors import DataError


def captions(corpus):
    return {image.id: image.captions for image in corpus.images}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_delimiters_line_ends_and_byte_order_marks(write, encoding, end, delimiter):
    rows = [
        ["Image", " caption ", "n", "split"],
        ["a/b.c.jpg", '"A ""big"" dog, a cat; a\tcow"', "1", "train"],
        [],
        ["x\\y.jpg", '"Öne line', "", ""],
        ["a/b.c.jpg", "Two", "", "train"],
    ]
    rows[3][1] = f'"One{end}Öther line"'
    text = end.join(delimiter.join(row) for row in rows)
    path = write("captions.txt", text.encode(encoding))
    assert detect_format(path) == "table"
    corpus = read_corpus(path)
    assert captions(corpus) == {
        "a/b.c.jpg": ('A "big" dog, a cat; a\tcow', "Two"),
        "x/y.jpg": (f"One{end}Öther line",),
    }
    assert [image.split for image in corpus.images] == ["train", None]


def test_short_rows_are_empty_captions(write):
    corpus = read_corpus(write("c.csv", "image,caption\na.jpg,x\nb.jpg\na.jpg,\n"))
    assert captions(corpus) == {"a.jpg": ("x",)}
    assert corpus.notes[0] == "2 empty captions dropped, first at line 3"


def test_jsonl(write):
    records = [
        {"image": "a.jpg", "caption": "x", "split": "test", "more": [1]},
        {"image": "b.jpg", "caption": ["y", "z", None, ""], "split": None},
        {"caption": "w", "image": "./a.jpg"},
        {"image": "c.jpg", "caption": None},
    ]
    path = write("c.txt", "\n\n".join(json.dumps(record) for record in records))
    assert detect_format(path) == "table"
    corpus = read_corpus(path)
    assert captions(corpus) == {"a.jpg": ("x", "w"), "b.jpg": ("y", "z")}
    assert [image.split for image in corpus.images] == ["test", None]
    assert corpus.notes[0] == "3 empty captions dropped, first at line 3"


def test_composed_and_decomposed_accents_are_one_image(write):
    corpus = read_corpus(write("c.csv", "image,caption\ncafe\u0301.jpg,x\ncaf\u00e9.jpg,y\n"))
    assert captions(corpus) == {"caf\u00e9.jpg": ("x", "y")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,captoin\na,b\n", "line 1: column 'caption' is missing; there is 'captoin'"),
        ("\n\nfile;caption\na;b\n", "column 'image' is missing"),
        ("image,caption,caption\n", "line 1: column 'caption' is there twice"),
        ("image,caption\na.jpg,x\na.jpg,A man, a dog\n", "line 3: 3 fields, but the header has 2"),
        ("image,caption\na.jpg,x\n,y\n", "line 3: the name of the image is blank"),
        ('image,caption\na.jpg,x\nb.jpg,"A man\nc.jpg,y\n', "line 3: the row cannot be read"),
        ('image,caption\na.jpg,"x\ny"\nb.jpg,"A" man\n', "line 4: the row cannot be read"),
        ("image,caption,split\na,x,train\n\na,y,test\n", "line 4: 'a' is in .*line 2 puts it"),
        ("image,caption,split\na,x,tets\n", "line 2: unknown split 'tets': did you mean 'test'"),
        ("image,caption\n", "no caption"),
        ('{"image": "a"}\n', "line 1: 'caption' is missing"),
        ('{"image": "a", "caption": "x"}\n{"image": "b", "caption" "y"}', "line 2, column 26"),
        ('{"image": "a", "caption" "x"}\n', "line 1, column 26: malformed JSON"),
        ('{"image": "a", "caption": "x"}\n[1]', "line 2: expected a JSON object"),
        ('{"image": "a", "caption": 5}', "line 1: 'caption' is int, expected a string"),
        ('{"image": "a", "caption": ["x", 5]}', "line 1: a caption is int, expected a string"),
        ('{"image": ["a"], "caption": "x"}', "line 1: 'image' is list, expected a string"),
        ('{"image": "a", "caption": "x", "split": 1}', "line 1: 'split' is int"),
    ],
)
def test_what_is_wrong_and_where(write, text, expected):
    with pytest.raises(DataError, match=expected):
        read_corpus(write("c", text))


def test_bytes_that_are_not_utf_8(write):
    path = write("c.csv", b"image,caption\na.jpg,x\nb.jpg,caf\xe9\n")
    with pytest.raises(DataError, match="line 3: byte 0xe9 is not UTF-8"):
        read_corpus(path)
