"""``index`` and ``search`` on real stores and runs: those of conftest.py, and generated scenes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from pipelines.scenes import write_scenes
from weaksup.cli import main

# Every direction counts alike, and next to no regularisation: the right answer is always found.
EXACT = [
    *("--set", "cca.directions=4", "--set", "cca.power=0", "--set", "cca.ridge=0.01"),
    *("--set", "min_count=1"),
]


CAPTIONS = "runs/cca-0/index/captions.json"


def call_of(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as end:
            main([*map(str, words)])
        return end.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def weaksup(prepared, capsys):
    call = call_of(capsys)
    assert call("train", "--model", "cca", "--name", "cca-0", *EXACT)[0] == 0
    return call


def results(out):
    found = json.loads(out)
    assert set(found) == {"query", "results"}
    return found["results"]


def test_search_with_and_without_an_index(prepared, weaksup):
    words = ("search", "dark cat blue big", "--top", 2, "--format", "json")
    code, bare, err = weaksup(*words)
    assert code == 0
    assert "has no index: embedding 25 images first" in err
    code, out, err = weaksup("index")
    assert code == 0
    assert "images: 24, of width 4, searched by exact" in out
    assert "captions: 16" in out
    following = shlex.split(out.splitlines()[-1])
    assert following[:3] == ["next:", "weaksup", "search"]
    # A caption that training saw: the run knows its words.
    assert following[3] == json.loads((prepared / CAPTIONS).read_text())[0]["caption"]
    assert "1 image could not be read" in err
    code, out, err = weaksup(*words)
    assert (code, err) == (0, "next: `weaksup serve` searches on a page\n")
    assert json.loads(out) == json.loads(bare)
    # sunny 1, dog 2, red 4, big 8: the picture of combination 8 is training image 8.
    assert [set(hit) for hit in results(out)] == [{"image", "score"}] * 2
    assert results(out)[0]["image"] == "photos/08.jpg"
    assert results(out)[0]["score"] == pytest.approx(1, abs=0.01)


def test_a_search_is_proposed_whose_words_the_run_knows(prepared, pictures, capsys):
    captions = prepared.parent / "captions.csv"
    lines = captions.read_text().splitlines()
    assert all("photos/00.jpg" in line for line in lines[1:3])
    # The first has a word that is too rare to be known, and the second looks like an option.
    lines[1] = "photos/00.jpg,dark cat blue small quokka,train"
    lines[2] = "photos/00.jpg,- dark cat,train"
    captions.write_text("\n".join(lines) + "\n")
    pictures.annotations(prepared / "annotations.json", captions, (0, 3, 5, 6, 9, 10, 12, 15))
    call = call_of(capsys)
    settings = ("--set", "cca.directions=4", "--set", "min_count=2")
    assert call("train", "--model", "cca", *settings)[0] == 0
    code, out, _ = call("index")
    assert code == 0
    following = shlex.split(out.splitlines()[-1])
    third = json.loads((prepared / "runs/cca/index/captions.json").read_text())[2]["caption"]
    assert following[3:] == [third]
    assert "does not know" not in call(*following[2:])[2]


def test_the_table_and_words_that_are_not_known(weaksup):
    code, out, err = weaksup("search", "sunny zebra", "--top", 3)
    assert code == 0
    assert "photos/" in out
    assert "next:" not in out
    assert "next: `weaksup index`" in err
    assert "words that the run does not know: zebra" in err


def test_search_for_an_image_of_the_index(weaksup):
    assert weaksup("index")[0] == 0
    code, out, _ = weaksup("search", "--image", "photos/03.jpg", "--top", 30, "--format", "json")
    assert code == 0
    found = [hit["image"] for hit in results(out)]
    assert len(found) == 23
    assert "photos/03.jpg" not in found
    code, out, _ = weaksup("search", "--image", "photos/03.jpg", "--find", "captions")
    assert code == 0
    assert "sunny dog blue small" in out
    code, out, _ = weaksup(
        *(
            "search",
            "--image",
            "photos/03.jpg",
            "--find",
            "captions",
            "--format",
            "json",
            "--top",
            1,
        )
    )
    assert results(out)[0]["caption"] in ("sunny dog blue small", "small blue dog sunny")
    assert results(out)[0]["image"] == "photos/03.jpg"
    code, out, _ = weaksup("search", "--image", "photos/03.jpg")
    assert "captions" in out
    assert "sunny dog blue small" in out


def test_more_images_without_training_again(prepared, weaksup, pictures, tmp_path):
    assert weaksup("index")[0] == 0
    pictures.name = lambda number: f"later/{number}.jpg"
    more = pictures.regions(tmp_path / "more.h5")
    code, out, _ = weaksup("index", "--regions", more, "--add")
    assert code == 0
    assert "images: 48" in out
    code, out, _ = weaksup("search", "dark cat blue big", "--top", 2, "--format", "json")
    assert {hit["image"] for hit in results(out)} == {"photos/08.jpg", "later/8.jpg"}
    other = pictures.regions(tmp_path / "other.h5", detector="other")
    code, out, err = weaksup("index", "--regions", other, "--add")
    assert (code, out) == (3, "")
    assert "differ from those of the run cca-0 in detector" in err


def test_another_training_makes_the_index_void(prepared, weaksup):
    assert weaksup("index")[0] == 0
    weights = prepared / "runs" / "cca-0" / "model.safetensors"
    words = ("--model", "cca", "--name", "cca-1", *EXACT, "--set", "cca.power=1")
    assert weaksup("train", *words)[0] == 0
    weights.write_bytes((prepared / "runs" / "cca-1" / "model.safetensors").read_bytes())
    code, out, err = weaksup("search", "a cat", "--run", "cca-0")
    assert (code, out) == (3, "")
    assert "is of other weights than the run has now" in err
    assert "hint: run `weaksup index` again" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "for a sentence or for a picture"),
        (("a cat", "--image", "x.jpg"), "for a sentence or for a picture"),
        (("  ",), "the sentence to search for is empty"),
        (("--image", "nowhere.jpg"), "neither a file nor an image of the index"),
        (("a cat", "--out", "x.png"), "is for --format picture"),
        (("a cat", "--format", "picture", "--out", "x.txt"), "a picture is .png"),
        (("a cat", "--format", "picture", "--find", "captions"), "captions make no picture"),
        (("a cat", "--run", "nosuch"), "--run nosuch: there is no such folder"),
    ],
)
def test_wrong_usage(weaksup, words, says):
    code, out, err = weaksup("search", *words)
    assert (code, out) == (2, "")
    assert says in err


def test_adding_needs_a_store(weaksup):
    code, _, err = weaksup("index", "--add")
    assert code == 2
    assert "--add needs the store of the new images" in err


def test_a_workspace_without_a_run_is_told_to_train(prepared, capsys):
    for words in (("index",), ("search", "a cat")):
        code, _, err = call_of(capsys)(*words)
        assert code == 3
        assert "run `weaksup train` first" in err


@pytest.fixture
def scenes(tmp_path, monkeypatch, capsys):
    """A workspace of real pictures, read by the demo's own detector, with a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEAKSUP_WORKSPACE", raising=False)
    write_scenes(tmp_path / "scenes", count=40, seed=3)
    call = call_of(capsys)
    assert call("extract", "--images", "scenes/images", "--detector", "demo")[0] == 0
    assert call("subsample", "--ratio", 0.5)[0] == 0
    assert call("train", "--model", "cca", "--set", "min_count=1")[0] == 0
    return call


def test_pictures_new_and_known(scenes, tmp_path):
    known = sorted((tmp_path / "scenes").rglob("*.jpg"))[5]
    image = known.relative_to(tmp_path / "scenes/images").as_posix()
    assert scenes("index")[0] == 0
    # A copy elsewhere is a new picture: the detector reads it, and it is found again.
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(known.read_bytes())
    code, out, _ = scenes("search", "--image", copy, "--top", 2, "--format", "json")
    assert code == 0
    assert json.loads(out)["query"] == str(copy)
    assert results(out)[0]["image"] == image
    # Not 1: this detector pads the pictures of a batch to one size, and here it is alone.
    assert 0.9 < results(out)[0]["score"] <= 1.0001
    # The file itself is in the index, and not among its own results.
    code, out, _ = scenes("search", "--image", known, "--top", 100, "--format", "json")
    assert json.loads(out)["query"] == image
    assert image not in [hit["image"] for hit in results(out)]
    (tmp_path / "text.png").write_text("no picture")
    code, out, err = scenes("search", "--image", tmp_path / "text.png")
    assert (code, out) == (3, "")
    assert "text.png cannot be read: not a picture" in err


def test_a_picture_of_the_results(scenes, tmp_path):
    code, out, err = scenes(
        "search", "a star", "--top", 7, "--format", "picture", "--out", "r/x.png"
    )
    assert code == 0
    assert "written: r/x.png" in out
    with Image.open("r/x.png") as sheet:
        assert sheet.width > 1000
    files = sorted((tmp_path / "scenes").rglob("*.jpg"))
    for path in files:
        path.unlink()
    code, _, err = scenes("search", "a star", "--top", 7, "--format", "picture")
    assert code == 0
    assert Path("search.png").exists()
    assert "7 picture files were not found" in err
