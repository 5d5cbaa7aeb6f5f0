from __future__ import annotations

import pytest

from weaksup.corpora import detect_format, read_corpus
from weaksup.errors import DataError

IMAGES = [{"id": 7, "file_name": "val2017/000.7.jpg", "height": 4}, {"id": 9, "file_name": "9.jpg"}]


def annotation(number, image, caption):
    return {"id": number, "image_id": image, "caption": caption}


def test_captions_are_joined_to_their_images(write):
    path = write(
        "captions.json",
        {
            "info": {},
            "images": IMAGES,
            "annotations": [
                annotation(1, 9, "A dog."),
                annotation(2, 7, "A man.\n"),
                annotation(3, 9, "Dogs."),
            ],
        },
    )
    assert detect_format(path) == "coco"
    corpus = read_corpus(path)
    assert [(image.id, image.captions, image.split) for image in corpus.images] == [
        ("val2017/000.7.jpg", ("A man.",), None),
        ("9.jpg", ("A dog.", "Dogs."), None),
    ]


def test_same_sentence_counts_twice_but_the_same_annotation_once(write):
    annotations = [
        annotation(1, 9, "A dog."),
        annotation(1, 9, "A dog."),
        annotation(2, 9, "A dog."),
    ]
    corpus = read_corpus(write("c.json", {"images": IMAGES, "annotations": annotations}))
    assert corpus.images[0].captions == ("A dog.", "A dog.")
    assert corpus.notes == (
        "1 annotations that are there twice were dropped",
        "1 image without captions dropped, such as val2017/000.7.jpg",
    )


def test_two_numbers_of_one_file_and_numbers_written_as_text(write):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": "2", "file_name": "./a.jpg"}]
    annotations = [annotation(1, "1", "x"), annotation(2, 2, "y")]
    corpus = read_corpus(write("c.json", {"images": images, "annotations": annotations}))
    assert [image.captions for image in corpus.images] == [("x", "y")]
    assert "listed again" in corpus.notes[0]


def test_splits_of_images(write):
    images = [{"id": 1, "file_name": "a.jpg", "split": "test"}, {"id": 2, "file_name": "b.jpg"}]
    annotations = [annotation(1, 1, "x"), annotation(2, 2, "y")]
    corpus = read_corpus(write("c.json", {"images": images, "annotations": annotations}))
    assert [image.split for image in corpus.images] == ["test", None]


@pytest.mark.parametrize(
    ("images", "annotations", "expected"),
    [
        (IMAGES, [annotation(1, 8, "x")], r"annotations\[0\]: image_id 8 is in no entry"),
        (
            IMAGES,
            [{"image_id": 7, "captoin": "x"}],
            r"annotations\[0\].*is missing; there is 'captoin'",
        ),
        (IMAGES, [annotation(1, 7, None)], r"annotations\[0\].*'caption' is NoneType"),
        (IMAGES, [annotation(1, None, "x")], r"annotations\[0\].*'image_id' is NoneType"),
        ([{"id": 1, "filename": "a"}], [], r"images\[0\].*is missing; there is 'filename'"),
        (
            [*IMAGES, {"id": 7, "file_name": "b.jpg"}],
            [],
            r"images\[2\]: image id 7 is 'b.jpg' here",
        ),
        (IMAGES, {}, "'annotations' is dict, expected a list"),
        (IMAGES, [], "no caption"),
    ],
)
def test_what_is_wrong_and_where(write, images, annotations, expected):
    path = write("c.json", {"images": images, "annotations": annotations, "about": "caption"})
    with pytest.raises(DataError, match=expected):
        read_corpus(path)


def test_instances_file_says_what_it_lacks(write):
    annotations = [{"image_id": 7, "bbox": [0, 0, 1, 1], "segmentation": []}]
    path = write("instances.json", {"images": IMAGES, "annotations": annotations})
    with pytest.raises(DataError, match=r"annotations\[0\]: 'caption' is missing"):
        read_corpus(path)
