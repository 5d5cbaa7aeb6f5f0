from __future__ import annotations

import json

import pytest

from weaksup.corpora import read_annotations, write_annotations
from weaksup.errors import DataError
from weaksup.types import Annotations

ANNOTATIONS = Annotations(
    ratio=0.5,
    unit="caption",
    strategy="random",
    seed=-3,
    captions="/data/captions.json",
    fingerprint="abc",
    annotated=("a/é.jpg", "b.jpg"),
    unannotated=("c.jpg",),
    captions_kept={"a/é.jpg": (0, 2), "b.jpg": (1,)},
)


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "annotations.json"
    write_annotations(path, ANNOTATIONS)
    assert read_annotations(path) == ANNOTATIONS
    assert [item.name for item in path.parent.iterdir()] == ["annotations.json"]


def test_contract(tmp_path):
    path = tmp_path / "annotations.json"
    write_annotations(path, ANNOTATIONS)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "format": "weaksup.annotations",
        "version": 1,
        "ratio": 0.5,
        "unit": "caption",
        "strategy": "random",
        "seed": -3,
        "captions": "/data/captions.json",
        "fingerprint": "abc",
        "annotated": ["a/é.jpg", "b.jpg"],
        "unannotated": ["c.jpg"],
        "captions_kept": {"a/é.jpg": [0, 2], "b.jpg": [1]},
    }


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "annotations.json"
    write_annotations(path, ANNOTATIONS)
    with pytest.raises(DataError, match="cannot be written"):
        write_annotations(path / "below", ANNOTATIONS)
    assert read_annotations(path) == ANNOTATIONS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": "weaksup.regions"}, "is no annotations file"),
        ({"version": 2}, "has version 2; this weaksup reads version 1"),
        ({"version": None}, "has version None"),
        ({"ratio": 0}, "'ratio' is 0"),
        ({"ratio": True}, "'ratio' is True"),
        ({"unit": "word"}, "'unit' is 'word', expected image or caption"),
        ({"seed": "0"}, "'seed' is str, expected a whole number"),
        ({"annotated": ["b.jpg", "b.jpg"]}, "'annotated' names an image twice"),
        ({"annotated": [1]}, r"annotated\[0\]: expected an image id"),
        ({"annotated": ["b.jpg"]}, "'a/é.jpg' is in only one of"),
        ({"unannotated": ["b.jpg"]}, "'b.jpg' is both in"),
        ({"captions_kept": {"a/é.jpg": [0], "b.jpg": []}}, r"captions_kept\['b.jpg'\]: expected a"),
        ({"captions_kept": {"a/é.jpg": [0], "b.jpg": [-1]}}, "expected indices from 0"),
        ({"captions_kept": {"a/é.jpg": [0], "b.jpg": [True]}}, "expected indices from 0"),
        ({"captions_kept": {"a/é.jpg": [0], "b.jpg": [1, 1]}}, "an index is there twice"),
        ({"captions_kept": []}, "'captions_kept' is list, expected an object"),
    ],
)
def test_what_is_wrong(tmp_path, change, expected):
    path = tmp_path / "annotations.json"
    write_annotations(path, ANNOTATIONS)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change))
    with pytest.raises(DataError, match=expected) as caught:
        read_annotations(path)
    assert caught.value.message.startswith(str(path))


@pytest.mark.parametrize("key", ["captions", "fingerprint", "annotated", "captions_kept", "seed"])
def test_missing_key(tmp_path, key):
    path = tmp_path / "annotations.json"
    write_annotations(path, ANNOTATIONS)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"'{key}' is missing"):
        read_annotations(path)


def test_no_file_and_half_a_file(tmp_path):
    path = tmp_path / "annotations.json"
    with pytest.raises(DataError, match="does not exist") as caught:
        read_annotations(path)
    assert caught.value.hint == "run `weaksup subsample` first"
    path.write_text('{"format": "weaksup.annotations", "annot')
    with pytest.raises(DataError, match="malformed JSON"):
        read_annotations(path)
