from __future__ import annotations

import pytest

from weaksup.corpora import assign_splits, detect_format, read_corpus
from weaksup.errors import DataError

TOKENS = "a.b.jpg#1\tTwo\tdogs .\na.b.jpg#0\tA dog .\nc.jpg#0\tA cat .\nd.jpg.1#0\tA cow .\n"


def test_captions_are_in_the_order_of_their_numbers(write):
    path = write("results.token", TOKENS)
    assert detect_format(path) == "flickr"
    corpus = read_corpus(path)
    assert [(image.id, image.captions) for image in corpus.images] == [
        ("a.b.jpg", ("A dog .", "Two\tdogs .")),
        ("c.jpg", ("A cat .",)),
        ("d.jpg.1", ("A cow .",)),
    ]
    assert all(image.split is None for image in corpus.images)
    assert "no split lists" in corpus.notes[0]


def test_split_lists_beside_the_file(write):
    path = write("f.token.txt", "\ufeff" + TOKENS.replace("\n", "\r\n"))
    write("Flickr_8k.trainImages.txt", "a.b.jpg\r\n\r\nunknown.jpg\r\n")
    write("Flickr_8k.devImages.txt", "c.jpg")
    corpus = read_corpus(path)
    assert [image.split for image in corpus.images] == ["train", "val", None]
    assert corpus.notes == ("1 image of the split lists without a caption",)
    # In a corpus with splits, an image without one is used nowhere.
    assigned = assign_splits(corpus)
    assert [image.split for image in assigned.images] == ["train", "val", None]
    assert "1 captioned image in no split, used nowhere, such as d.jpg.1" in assigned.notes


def test_image_in_two_lists(write):
    path = write("f.txt", TOKENS)
    write("x.trainImages.txt", "c.jpg\na.b.jpg\n")
    write("x.testImages.txt", "c.jpg\n")
    with pytest.raises(DataError, match=r"x.trainImages.txt line 1.*x.testImages.txt line 1"):
        read_corpus(path)


def test_line_of_another_form(write):
    path = write("f.txt", TOKENS + "e.jpg A hen .\n")
    with pytest.raises(DataError, match=r"line 5: expected NAME#NUMBER.*got 'e.jpg A hen .'"):
        read_corpus(path)


def test_caption_with_a_line_separator_is_one_caption(write):
    corpus = read_corpus(write("f.txt", "a.jpg#0\tA dog\u2028runs .\n"))
    assert corpus.images[0].captions == ("A dog\u2028runs .",)


@pytest.mark.realdata
def test_flickr8k_is_the_same_in_both_of_its_formats(shared):
    corpora = [
        assign_splits(read_corpus(shared / "flickr8k" / name))
        for name in ("Flickr8k.token.txt", "dataset_flickr8k.json")
    ]
    for corpus, format in zip(corpora, ("flickr", "karpathy"), strict=True):
        assert corpus.format == format
        for split, images in (("train", 5997), ("val", 1000), ("test", 0)):
            captioned = corpus.split(split)
            assert len(captioned) == images
            assert {len(image.captions) for image in captioned} <= {5}
        assert corpus.notes == ()
    assert corpora[0].fingerprint == corpora[1].fingerprint
    assert {image.id: image for image in corpora[0].images} == {
        image.id: image for image in corpora[1].images
    }
