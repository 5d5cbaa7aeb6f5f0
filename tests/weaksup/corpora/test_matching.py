from __future__ import annotations

import pytest

from weaksup.corpora import assign_splits, match_ids
from weaksup.errors import DataError
from weaksup.types import CaptionedImage, Corpus


def corpus(*names: str, split: str | None = "train") -> Corpus:
    images = tuple(CaptionedImage(name, (f"caption of {name}",), split) for name in names)
    return Corpus(images=images, source="c.json", format="karpathy", fingerprint="f")


def matched(names, store_ids):
    result = match_ids(corpus(*names), store_ids)
    return {image.captions[0].removeprefix("caption of "): image.id for image in result.images}


@pytest.mark.parametrize(
    ("names", "store_ids", "expected"),
    [
        # Equal ids, the same file name in two folders.
        (
            ["a/1.jpg", "b/1.jpg"],
            ["b/1.jpg", "a/1.jpg"],
            {"a/1.jpg": "a/1.jpg", "b/1.jpg": "b/1.jpg"},
        ),
        # The store's images lie deeper.
        (
            ["1.jpg", "a/2.jpg"],
            ["x/1.jpg", "x/a/2.jpg"],
            {"1.jpg": "x/1.jpg", "a/2.jpg": "x/a/2.jpg"},
        ),
        # The names lead from further up.
        (
            ["val/1.jpg", "/d/val/2.jpg"],
            ["1.jpg", "2.jpg"],
            {"val/1.jpg": "1.jpg", "/d/val/2.jpg": "2.jpg"},
        ),
        # Of several ends, the longest.
        (
            ["d/a/1.jpg", "d/1.jpg"],
            ["1.jpg", "a/1.jpg"],
            {"d/a/1.jpg": "a/1.jpg", "d/1.jpg": "1.jpg"},
        ),
        # An end of a name is not an end of a path; no suffix is cut.
        (["1.jpg", "2.x.jpg"], ["11.jpg", "2.jpg", "2.x.jpg"], {"2.x.jpg": "2.x.jpg"}),
        # The image that the store lacks must not take another one's place.
        (["1.jpg", "a/1.jpg"], ["1.jpg"], {"1.jpg": "1.jpg"}),
        (["1.jpg", "a/1.jpg"], ["x/a/1.jpg"], {"a/1.jpg": "x/a/1.jpg"}),
        # File systems decompose accents.
        (["caf\u00e9.jpg"], ["cafe\u0301.jpg"], {"caf\u00e9.jpg": "cafe\u0301.jpg"}),
    ],
)
def test_rule(names, store_ids, expected):
    assert matched(names, store_ids) == expected


@pytest.mark.parametrize(
    ("names", "store_ids", "expected"),
    [
        (["1.jpg"], ["a/1.jpg", "b/1.jpg"], "'1.jpg' fits 'a/1.jpg', 'b/1.jpg'"),
        (["a/1.jpg", "b/1.jpg"], ["1.jpg"], "'1.jpg' fits 'a/1.jpg', 'b/1.jpg'"),
        (["1.jpg"], [f"{i}/1.jpg" for i in range(9)], "and others"),
    ],
)
def test_ambiguous(names, store_ids, expected):
    with pytest.raises(DataError, match=expected):
        match_ids(corpus(*names), store_ids)


def test_lacking_images_are_dropped_and_counted():
    result = match_ids(corpus("1.jpg", "2.jpg", "3.jpg"), ["2.jpg", "9.jpg"])
    assert [image.id for image in result.images] == ["2.jpg"]
    assert result.notes[-1].startswith("2 captioned images are not")
    assert result.notes[-1].endswith("such as 1.jpg")
    assert result.fingerprint == "f"


def test_nothing_in_common():
    with pytest.raises(DataError, match=r"'1.jpg' is an image there, '9.jpg' here"):
        match_ids(corpus("1.jpg"), ["9.jpg"])
    with pytest.raises(DataError, match="has 1 image, and none is in the region store"):
        match_ids(corpus("1.jpg"), [])


def test_hashed_splits_do_not_depend_on_the_store():
    names = [f"{i}.jpg" for i in range(300)]
    plain = corpus(*names, split=None)
    store_ids = [f"images/{name}" for name in names]
    expected = {f"images/{image.id}": image.split for image in assign_splits(plain).images}
    for result in (match_ids(plain, store_ids), assign_splits(match_ids(plain, store_ids))):
        assert {image.id: image.split for image in result.images} == expected
