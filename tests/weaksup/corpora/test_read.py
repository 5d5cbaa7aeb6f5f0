"""Recognising formats from the content alone, and what all formats have in common."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weaksup.corpora import detect_format, fingerprint, read_corpus
from weaksup.corpora.builder import normalise_id
from weaksup.errors import DataError
from weaksup.types import CaptionedImage

CONTENTS = {
    "karpathy": {"images": [{"filename": "a.jpg", "sentences": [{"raw": "x"}, {"raw": "y"}]}]},
    "coco": {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [
            {"image_id": 1, "id": 1, "caption": "x"},
            {"image_id": 1, "id": 2, "caption": "y"},
        ],
    },
    "flickr": "a.jpg#0\tx\na.jpg#1\ty\n",
    "table": "image,caption\na.jpg,x\na.jpg,y\n",
}


@pytest.mark.parametrize("name", ["c.json", "c.csv", "c.txt", "c", "c.jpg"])
@pytest.mark.parametrize("format", CONTENTS)
def test_the_name_of_the_file_plays_no_part(write, format, name):
    path = write(name, CONTENTS[format])
    assert detect_format(path) == format


@pytest.mark.parametrize("format", ["karpathy", "coco"])
@pytest.mark.parametrize("indent", [None, 2])
def test_layout_of_json_plays_no_part(write, format, indent):
    text = json.dumps(CONTENTS[format], indent=indent)
    backwards = json.dumps(dict(reversed(CONTENTS[format].items())), indent=indent)
    assert detect_format(write("a", "\ufeff\n " + text)) == format
    assert detect_format(write("b", backwards)) == format


def test_keys_beyond_the_first_64_kilobytes_count(write):
    images = [{"id": i, "file_name": f"{i}.jpg", "license": "l" * 50} for i in range(2000)]
    annotations = [{"image_id": i, "caption": "x"} for i in range(2000)]
    path = write("c", {"images": images, "annotations": annotations})
    assert detect_format(path) == "coco"


def test_equal_content_has_an_equal_fingerprint_in_every_format(write):
    corpora = [read_corpus(write(f"{i}", content)) for i, content in enumerate(CONTENTS.values())]
    assert {corpus.format for corpus in corpora} == set(CONTENTS)
    assert len({corpus.fingerprint for corpus in corpora}) == 1
    assert len({corpus.images for corpus in corpora}) == 1


def test_fingerprint_tells_what_matters_apart():
    a, b = CaptionedImage("a", ("x", "y"), "train"), CaptionedImage("b", ("z",))
    assert fingerprint([a, b]) == fingerprint([b, a])
    others = [
        [a],
        [CaptionedImage("a", ("y", "x"), "train"), b],
        [CaptionedImage("a", ("x", "y"), "test"), b],
        [CaptionedImage("a", ("x", "y")), b],
        [CaptionedImage("a", ("xy",), "train"), b],
        [CaptionedImage("A", ("x", "y"), "train"), b],
    ]
    assert len({fingerprint(images) for images in [[a, b], *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("hello world\n", "no known captions format; it begins with 'hello world'"),
        ("[1, 2]", "no known captions format"),
        ('{"format": "weaksup.annotations", "captions_kept": {}}', "no known captions format"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "no known captions format"),
        ('{"images": ' + "[" * 200_000 + '"sentences"', "malformed JSON"),
    ],
)
def test_other_files(write, content, expected):
    with pytest.raises(DataError, match=expected):
        read_corpus(write("c.json", content))


def test_no_file(tmp_path: Path):
    with pytest.raises(DataError, match="does not exist"):
        read_corpus(tmp_path / "none.json")
    with pytest.raises(DataError, match="is a folder"):
        read_corpus(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.c.jpg", "a.b.c.jpg"),
        ("./a/b.jpg", "a/b.jpg"),
        (".\\a\\b.jpg", "a/b.jpg"),
        ("a//b/./c.jpg ", "a/b/c.jpg"),
        ("/data/a.jpg", "/data/a.jpg"),
        ("a/../b.jpg", "b.jpg"),
        ("no-suffix", "no-suffix"),
        (".hidden.jpg", ".hidden.jpg"),
    ],
)
def test_ids(name, expected):
    assert normalise_id(name) == expected


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("", "begins with the line image,caption"),
        ("filename,text\na.jpg,a dog\n", "begins with the line image,caption"),
        ("image,caption\n", "write a sentence"),
    ],
)
def test_a_csv_without_header_or_captions_is_told_what_to_do(
    tmp_path: Path, content: str, hint: str
) -> None:
    path = tmp_path / "captions.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_corpus(path)
    assert hint in caught.value.hint
