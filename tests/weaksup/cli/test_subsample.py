"""``weaksup subsample`` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weaksup.cli import main
from weaksup.concepts import (
    OBJECT,
    WORDNET_NOTICE,
    Concept,
    Vocabulary,
    read_concepts,
    write_concepts,
)
from weaksup.corpora import read_annotations
from weaksup.workspace import Workspace

SPLITS = ["train"] * 8 + ["val", "test"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to run in, with a captions file for ten images, two captions each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEAKSUP_WORKSPACE", raising=False)
    rows = [f"{i}.jpg,{word} {i},{SPLITS[i]}" for word in ("one", "two") for i in range(10)]
    (tmp_path / "captions.csv").write_text("image,caption,split\n" + "\n".join(rows))
    return tmp_path


@pytest.fixture
def store(place, make_store):
    """A store of the ten images in a nested folder, one of them unreadable, and two others."""
    images = {f"photos/{i}.jpg": [("dog" if i % 2 else "cat", [], 0.9)] for i in range(10)}
    images["photos/3.jpg"] = None
    images["photos/5.jpg"] = [("zebra", [], 0.9), ("guess", [], 0.1)]
    images["extra/a.jpg"] = [("zebra", [], 0.9)]
    images["extra/b.jpg"] = [("traffic light", [], 0.9)]
    return make_store(place / "weaksup-workspace" / "regions.h5", images)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["subsample", *map(str, arguments)])
    return ended.value.code


def annotations(path="weaksup-workspace/annotations.json"):
    return read_annotations(Path(path))


def test_without_store(place, capsys):
    assert run("--captions", "captions.csv", "--ratio", "0.5") == 0
    result = annotations()
    assert len(result.annotated) == len(result.unannotated) == 4
    assert result.captions == str(place / "captions.csv")
    out = capsys.readouterr()
    assert "4 (50.0%)" in out.out
    assert "8 (50.0%)" in out.out
    assert "no region store" in out.out
    assert "next: weaksup extract" in out.out
    assert out.err == ""
    # --captions is remembered.
    assert run("--ratio", "0.25") == 0
    assert set(annotations().annotated) < set(result.annotated)


def test_with_store(store, capsys):
    assert run("--captions", "captions.csv", "--ratio", "1") == 0
    result = annotations()
    train = {f"photos/{i}.jpg" for i in range(8) if i != 3}
    assert set(result.annotated) == train
    assert set(result.unannotated) == {"extra/a.jpg", "extra/b.jpg"}
    out = capsys.readouterr().out
    assert "train, no captions" in out
    assert "1 unreadable image left out" in out
    # "guess" scores too low to be a concept; zebra is shown by an annotated image.
    assert "show 3 of the 4 that training images show (75.0%)" in out
    assert "and 50.0% of what the un-annotated ones show" in out
    assert "in no annotated image (un-annotated images that show it): traffic light (1)" in out
    assert "next: weaksup train" in out


def test_coverage(store):
    assert run("--captions", "captions.csv", "--ratio", "0.5", "--strategy", "coverage") == 0
    assert "photos/5.jpg" in annotations().annotated
    assert annotations().strategy == "coverage"


def test_coverage_chooses_among_captioned_images_alone(store, place, capsys):
    (place / "captions.csv").unlink()
    assert run("--strategy", "coverage") == 3
    assert "no captions file was found" in capsys.readouterr().err


def test_captions_beside_the_images_are_found_and_named(place, capsys):
    here = place / "here [red]"  # as it stands, not as rich's markup
    images = here / "images"
    images.mkdir(parents=True)
    (place / "captions.csv").rename(here / "captions.csv")
    Workspace.open().remember(images=[images])
    # Found, not given: not remembered, but found and named each time.
    for _ in range(2):
        assert run() == 0
        assert f"captions: {here / 'captions.csv'} (found" in capsys.readouterr().err
        assert Workspace.open().captions is None
    assert len(annotations().annotated) == 2


def test_by_caption(place):
    assert run("--captions", "captions.csv", "--unit", "caption", "--seed", "4") == 0
    result = annotations()
    assert sum(map(len, result.captions_kept.values())) == 3
    assert (result.unit, result.seed) == ("caption", 4)


def test_kept_captions_and_only_they_come_into_the_concepts(store, place):
    path = place / "weaksup-workspace" / "concepts.json"
    write_concepts(path, Vocabulary((Concept("cat", OBJECT), Concept("dog", OBJECT))))
    # A new word must be in five captions: val and test have a word of theirs in ten.
    rows = [
        f"{i}.jpg,a cat on a {'skateboard' if split == 'train' else 'piano'},{split}"
        for i, split in enumerate(SPLITS)
        for _ in range(1 if split == "train" else 5)
    ]
    (place / "captions.csv").write_text("image,caption,split\n" + "\n".join(rows))

    def counts():
        return {concept.name: concept.captions for concept in read_concepts(path).concepts}

    assert run("--captions", "captions.csv", "--ratio", "1") == 0
    assert counts() == {"cat": 7, "dog": 0, "skateboard": 7}
    assert run("--ratio", "0.4") == 0
    assert counts() == {"cat": 3, "dog": 0}
    # The captions of annotations that are elsewhere are none of this workspace's.
    assert run("--ratio", "1", "--out", "all.json") == 0
    assert counts() == {"cat": 3, "dog": 0}


def test_without_wordnet_it_says_so(store, place, capsys, monkeypatch):
    monkeypatch.setenv("WEAKSUP_WORDNET", str(place / "none"))
    path = place / "weaksup-workspace" / "concepts.json"
    write_concepts(path, Vocabulary((Concept("cat", OBJECT),)))
    assert run("--captions", "captions.csv") == 0
    assert capsys.readouterr().err == f"{WORDNET_NOTICE}\n"


def test_diverse_reads_the_store(store, capsys):
    assert run("--captions", "captions.csv", "--strategy", "diverse", "--ratio", "0.5") == 0
    first = annotations()
    assert (first.strategy, len(first.annotated)) == ("diverse", 4)
    assert "photos/3.jpg" not in first.annotated
    assert "concepts: annotated images show" in capsys.readouterr().out
    assert run("--strategy", "diverse", "--ratio", "0.25") == 0
    assert set(annotations().annotated) < set(first.annotated)


def test_out(store, capsys):
    assert run("--captions", "captions.csv", "--out", "new/a.json") == 0
    assert json.loads(Path("new/a.json").read_text())["format"] == "weaksup.annotations"
    assert "next: weaksup train --annotations new/a.json" in capsys.readouterr().out
    assert run("--out", "new/a.json", "--workspace", "weaksup-workspace") == 0
    assert (
        "next: weaksup train --workspace weaksup-workspace --annotations new/a.json"
        in capsys.readouterr().out
    )
    assert not Path("weaksup-workspace/annotations.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--ratio", "0"], 2, "--ratio 0.0 is not over 0"),
        (["--ratio", "1.5"], 2, "--ratio 1.5 is not over 0 and up to 1"),
        (["--ratio", "nan"], 2, "--ratio nan"),
        (["--ratio", "20%"], 2, "--ratio 20% is no number\nhint: for example --ratio 0.2\n"),
        (["--strategy", "best"], 2, "best"),
        (["--unit", "word"], 2, "word"),
        (["--captions", "none.json"], 2, "none.json"),
        (["--captions", "captions.csv", "--workspace", "captions.csv"], 2, "is a file"),
        (["--captions", "captions.csv", "--out", "."], 2, "is a directory"),
        (["--captions", "captions.csv", "--strategy", "coverage"], 3, "needs the concepts"),
        (["--captions", "captions.csv", "--strategy", "diverse"], 3, "needs the region features"),
        (["--captions", "captions.csv", "--out", "captions.csv/x"], 2, "cannot be written"),
        (["--captions", "noise.txt"], 3, "no known captions format"),
        (["--captions", "tested.csv"], 3, "in the train split"),
        (["--captions", "."], 3, "is a folder"),
        ([], 3, "no captions file was found"),
        ([], 3, "run `weaksup extract --images DIR` first"),
        (["--workspace", "w"], 3, "run `weaksup extract --workspace w --images DIR` first"),
    ],
)
def test_wrong_uses(place, capsys, arguments, code, expected):
    (place / "noise.txt").write_text("nothing of that kind")
    (place / "tested.csv").write_text("image,caption,split\na.jpg,x,test\n")
    assert run(*arguments) == code
    err = capsys.readouterr().err
    assert expected in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert not (place / "weaksup-workspace" / "annotations.json").exists()


def test_damaged_store(store, capsys):
    store.write_bytes(store.read_bytes()[:1000])
    assert run("--captions", "captions.csv") == 3
    assert "regions.h5" in capsys.readouterr().err


def test_damaged_concepts_are_told_before_anything_is_written(store, place, capsys):
    (place / "weaksup-workspace" / "concepts.json").write_text("{")
    assert run("--captions", "captions.csv") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "concepts.json cannot be read" in said.err
    assert not (place / "weaksup-workspace" / "annotations.json").exists()
    # They are not touched where the annotations go elsewhere.
    assert run("--captions", "captions.csv", "--out", "other.json") == 0


def test_captions_of_other_images(store, place, capsys):
    (place / "other.csv").write_text("image,caption\nz.jpg,x\n")
    assert run("--captions", "other.csv") == 3
    assert "is in the region store" in capsys.readouterr().err
    assert Workspace.open().captions is None


@pytest.mark.realdata
def test_flickr8k(place, shared, capsys):
    assert run("--captions", shared / "flickr8k" / "dataset_flickr8k.json") == 0
    first = annotations()
    assert (len(first.annotated), len(first.unannotated)) == (1199, 4798)
    assert run("--captions", shared / "flickr8k" / "Flickr8k.token.txt", "--out", "b.json") == 0
    second = annotations("b.json")
    assert (second.annotated, second.captions_kept) == (first.annotated, first.captions_kept)
    assert second.fingerprint == first.fingerprint
