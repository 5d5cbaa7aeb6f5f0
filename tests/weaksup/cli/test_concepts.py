"""``weaksup concepts`` as a user calls it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from weaksup.cli import main
from weaksup.concepts import ATTRIBUTE, OBJECT, Concept, Vocabulary, read_concepts, write_concepts

VOCABULARY = Vocabulary(
    concepts=(
        Concept("dog", OBJECT, ("hound",), caption_aliases=("doggy",), captions=4, regions=9),
        Concept("cat", OBJECT, captions=6, regions=2),
        Concept("orange", OBJECT, captions=0, regions=1),
        Concept("orange", ATTRIBUTE, ("amber",), captions=1, regions=3),
        Concept("man", OBJECT, origin="captions", captions=5),
    ),
    sources={"spacy": "blank", "wordnet": "WordNet 3.0"},
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    write_concepts(tmp_path / "concepts.json", VOCABULARY)
    return tmp_path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["concepts", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def table(text: str) -> list[list[str]]:
    rows = [line.strip("│ ").split("│") for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


def test_shows_the_most_frequent_in_regions(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--workspace", workspace) == 0
    out = capsys.readouterr()
    assert table(out.out)[0] == ["dog", "object", "hound, doggy", "4", "9"]
    assert [row[0] for row in table(out.out)] == ["dog", "orange", "cat", "orange", "man"]
    assert "5 of 5 concepts" in out.out
    assert out.err == f"next: `weaksup train --workspace {workspace}`\n"


def test_brackets_in_names_are_no_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = Concept("dog [red]", OBJECT, ("hound [/]",))
    write_concepts(tmp_path / "concepts.json", Vocabulary((named,), VOCABULARY.sources))
    assert run("--workspace", tmp_path) == 0
    assert table(capsys.readouterr().out)[0][:3] == ["dog [red]", "object", "hound [/]"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--sort", "captions", "--top", "3"], ["cat", "man", "dog"]),
        (["--sort", "name"], ["cat", "dog", "man", "orange", "orange"]),
        (["--kind", "attribute"], ["orange"]),
    ],
)
def test_sorts_and_chooses(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], names: list[str]
) -> None:
    assert run("--workspace", workspace, *arguments) == 0
    assert [row[0] for row in table(capsys.readouterr().out)] == names


def test_saves_json_csv_and_a_list(workspace: Path, tmp_path: Path) -> None:
    for suffix in ("json", "csv", "tsv"):
        assert run("--workspace", workspace, "--out", tmp_path / f"saved.{suffix}", "--top", 1) == 0
    assert set(read_concepts(tmp_path / "saved.json").concepts) == set(VOCABULARY.concepts)
    with (tmp_path / "saved.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "concept": "dog",
        "kind": "object",
        "captions": "4",
        "regions": "9",
        "aliases": "hound|doggy",
    }
    assert len(rows) == 5
    # Nothing from captions: neither the concept "man" nor the alias "doggy".
    lines = (tmp_path / "saved.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == ["dog\thound", "orange\tamber", "cat"]


def test_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = Vocabulary((Concept("dog", OBJECT),), {"spacy": "blank", "wordnet": None})
    write_concepts(tmp_path / "concepts.json", bare)
    assert run("--workspace", tmp_path) == 0
    out = capsys.readouterr()
    assert "apt-get install wordnet-base" in out.err
    assert "weaksup subsample" in out.out
    assert table(out.out) == [["dog", "object", "", "-", "0"]]


def test_errors(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--workspace", tmp_path / "none") == 3
    assert "weaksup extract" in capsys.readouterr().err
    assert run("--workspace", workspace, "--out", tmp_path / "a.xls") == 2
    assert ".json, .csv, .tsv" in capsys.readouterr().err
    assert run("--workspace", workspace, "--sort", "size") == 2
    (workspace / "concepts.json").write_text("{")
    assert run("--workspace", workspace) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_workspace_that_was_named_is_named_in_hints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--workspace", tmp_path) == 3
    assert f"run `weaksup extract --workspace {tmp_path}` first" in capsys.readouterr().err
    write_concepts(tmp_path / "concepts.json", Vocabulary((Concept("dog", OBJECT),), {}))
    assert run("--workspace", tmp_path) == 0
    said = f"captions are counted by `weaksup subsample --workspace {tmp_path}`"
    assert said in capsys.readouterr().out
