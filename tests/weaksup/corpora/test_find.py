from __future__ import annotations

from pathlib import Path

import pytest

from weaksup.corpora import find_captions, list_captions

CSV = "image,caption\na.jpg,x\n"
TOKENS = "a.jpg#0\tx\n"
KARPATHY = {"images": [{"filename": "a.jpg", "sentences": [{"raw": "x"}]}]}


def coco(name):
    return {
        "images": [{"id": 1, "file_name": name}],
        "annotations": [{"image_id": 1, "caption": "x"}],
    }


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    (folder / "a.jpg").touch()
    return folder


def test_none(images, write):
    write("data/notes.txt", "image of a caption")
    write("data/labels.csv", "image,label\na.jpg,cat\n")
    write("data/instances.json", {"images": [], "annotations": [{"bbox": []}]})
    write("data/broken.json", '{"image": "a", "caption"')
    write("data/.hidden.csv", CSV)
    write("elsewhere.csv", CSV)
    assert find_captions([images]) is None
    assert find_captions([]) is None
    assert find_captions([images / "missing"]) is None


@pytest.mark.parametrize("place", ["data/images", "data", "data/annotations"])
@pytest.mark.parametrize("content", [CSV, TOKENS, KARPATHY, coco("a.jpg")])
def test_inside_and_beside(images, write, place, content):
    path = write(f"{place}/things.json", content)
    assert find_captions([images]) == path.resolve()


def test_of_several_formats_the_richest(images, write):
    table = write("data/images/a.csv", CSV)
    tokens = write("data/b.txt", TOKENS)
    other = write("data/c.json", coco("a.jpg"))
    karpathy = write("data/d.json", KARPATHY)
    assert list_captions([images]) == [karpathy, other, tokens, table]


def test_of_one_format_the_one_named_train_then_by_name(images, write):
    paths = [write(f"data/{name}.csv", CSV) for name in ("x_train", "a", "b")]
    assert list_captions([images]) == paths


def test_the_file_of_these_images_comes_before_all(images, write):
    write("data/captions_train2017.json", coco("t.jpg"))
    own = write("data/captions_val2017.json", coco("val2017/a.jpg"))
    assert find_captions([images]) == own


def test_several_folders(images, write, tmp_path):
    second = tmp_path / "more" / "images"
    second.mkdir(parents=True)
    path = write("more/captions.csv", CSV)
    assert find_captions([images, second]) == path


@pytest.mark.realdata
def test_flickr8k(shared):
    found = list_captions([shared / "flickr8k" / "images"])
    assert [path.name for path in found] == ["dataset_flickr8k.json", "Flickr8k.token.txt"]
