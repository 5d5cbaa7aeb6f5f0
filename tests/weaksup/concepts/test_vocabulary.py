"""Labels and lists to concepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weaksup.concepts import ATTRIBUTE, OBJECT, Vocabulary, build_vocabulary
from weaksup.errors import DataError, UsageError

pytestmark = pytest.mark.usefixtures("no_wordnet")


def test_names_are_normal_and_several_words_kept() -> None:
    labels = ["Person", "skis", "traffic light", "Potted Plants", "scissors", "wine glasses"]
    vocabulary = build_vocabulary(labels, ["Red", "bigger"])
    assert vocabulary.objects == (
        "person",
        "ski",
        "traffic light",
        "potted plant",
        "scissors",
        "wine glasses",
    )
    assert vocabulary.attributes == ("red", "big")
    assert vocabulary.object_rows.dtype == np.int32
    assert vocabulary.object_rows.tolist() == list(range(6))


def test_duplicates_are_merged_and_kinds_are_not() -> None:
    vocabulary = build_vocabulary(
        ["people", "person", "orange", "T_shirt", "t-shirts", "tyre", "tires"], ["orange", "gray"]
    )
    assert vocabulary.objects == ("person", "orange", "t shirt", "tyre")
    assert vocabulary.object_rows.tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert vocabulary.attributes == ("orange", "gray")
    assert vocabulary.attribute_rows.tolist() == [0, 1]
    assert vocabulary.notes == ("7 object labels became 4 concepts",)


def test_alternatives_and_brackets_in_labels() -> None:
    vocabulary = build_vocabulary(["hot dog,hotdogs", "hotdog", "bow_(weapon)", "bow_(ribbon)"], [])
    assert [concept.names for concept in vocabulary.concepts] == [
        ("hot dog", "hotdog"),
        ("bow",),
    ]
    assert vocabulary.object_rows.tolist() == [0, 0, 1, 1]


def test_an_empty_label_is_refused() -> None:
    with pytest.raises(DataError, match="empty object label"):
        build_vocabulary(["dog", " "], [])


def test_no_labels_at_all() -> None:
    vocabulary = build_vocabulary([], [])
    assert vocabulary.concepts == ()
    assert vocabulary.object_rows.shape == (0,)


def build(path: Path, text: str) -> Vocabulary:
    path.write_text(text, encoding="utf-8")
    return build_vocabulary(["people", "couch", "tv", "orange"], ["red", "orange"], user_list=path)


def test_a_list_replaces_the_labels(tmp_path: Path) -> None:
    vocabulary = build(
        tmp_path / "concepts.txt",
        "# mine\n\nSofa\tcouches, settee\tdivan\nperson\norange\ncrimson\tred\nunicorns\n",
    )
    names = {(concept.kind, *concept.names) for concept in vocabulary.concepts}
    assert names == {
        (OBJECT, "sofa", "couch", "settee", "divan"),
        (OBJECT, "person"),
        (OBJECT, "orange"),
        (ATTRIBUTE, "orange"),
        (ATTRIBUTE, "crimson", "red"),
        (OBJECT, "unicorn"),
    }
    assert [vocabulary.objects[row] if row >= 0 else None for row in vocabulary.object_rows] == [
        "person",
        "sofa",
        None,
        "orange",
    ]
    assert [vocabulary.attributes[row] for row in vocabulary.attribute_rows] == [
        "crimson",
        "orange",
    ]
    assert {concept.origin for concept in vocabulary.concepts} == {"list"}
    assert vocabulary.notes == ("1 of 4 object labels not in the concept list",)
    assert vocabulary.unmatched == ("unicorn",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no concept"),
        ("# only\n", "names no concept"),
        ("sofa\tcouch\nseat\tcouches\n", "'couch' is a name of line 1 and of line 2"),
    ],
)
def test_bad_lists(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(tmp_path / "list.txt", text)


def test_a_missing_list_is_wrong_usage_and_a_binary_one_bad_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.txt"):
        build_vocabulary(["dog"], [], user_list=tmp_path / "none.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00d")
    with pytest.raises(DataError, match="UTF-8"):
        build_vocabulary(["dog"], [], user_list=tmp_path / "list.txt")


def test_region_counts() -> None:
    vocabulary = build_vocabulary(["dog", "cat"], ["red"])
    counted = vocabulary.with_regions(
        objects=np.array([3, 0], np.int32), attributes=np.array([2], np.int32)
    )
    assert [concept.regions for concept in counted.concepts] == [3, 0, 2]
    with pytest.raises(ValueError, match="1 counts for 2 objects"):
        vocabulary.with_regions(objects=np.zeros(1, np.int32), attributes=np.zeros(1, np.int32))


def test_is_deterministic_and_says_what_it_used() -> None:
    first, second = (build_vocabulary(["dogs", "cat"], ["red"]) for _ in range(2))
    assert first.concepts == second.concepts
    assert first.sources["wordnet"] is None
    assert first.sources["spacy"]
