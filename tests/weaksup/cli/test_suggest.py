"""``weaksup suggest`` as a user calls it, and its worksheet on the way back."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from weaksup.cli import main
from weaksup.cli.suggest import STRATEGIES
from weaksup.corpora import read_annotations, read_corpus

TRAIN = ("--model", "cca", "--set", "cca.image_components=4", "--set", "cca.text_components=6")


def run(*arguments: object, command: str = "suggest") -> int:
    with pytest.raises(SystemExit) as ended:
        main([command, *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def fill(path: Path, texts: dict[str, list[str]]) -> None:
    """Write captions into a worksheet, as a person does; other rows stay empty."""
    found = rows(path)
    left = {name: list(captions) for name, captions in texts.items()}
    for row in found:
        if left.get(row["image"]):
            row["caption"] = left[row["image"]].pop(0)
    assert not any(left.values())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)


def test_filled_in_it_comes_back_as_annotations(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_annotations(prepared / "annotations.json")
    assert run("--budget", "4", "--per-image", "3") == 0
    said = capsys.readouterr().out
    sheet = prepared / "reports" / "suggest.csv"
    assert f"weaksup suggest --add {sheet} --out captions-2.csv" in said
    wanted = list(dict.fromkeys(row["image"] for row in rows(sheet)))
    assert len(wanted) == 4
    assert set(wanted) <= set(before.unannotated)
    assert [row["image"] for row in rows(sheet)] == [name for name in wanted for _ in range(3)]
    assert {row["split"] for row in rows(sheet)} == {"train"}
    assert all(rows(sheet)[3 * place]["reason"] for place in range(4))

    texts = {
        wanted[0]: ['A "big", dog.', "=zwei Hunde, schön"],
        wanted[2]: ["a cat"],
    }
    fill(sheet, texts)
    assert run("--add", sheet, "--out", "captions-2.csv") == 0
    said = capsys.readouterr()
    assert "3 new captions of 2 images" in said.out
    assert "9 empty captions dropped" in said.err
    assert f"2 images without captions dropped, such as {wanted[1]}" in said.err
    assert "next: `weaksup subsample --captions captions-2.csv --ratio 1`" in said.out

    assert run("--captions", "captions-2.csv", "--ratio", "1", command="subsample") == 0
    after = read_annotations(prepared / "annotations.json")
    assert set(after.annotated) == {*before.annotated, wanted[0], wanted[2]}
    assert set(after.unannotated) == set(before.unannotated) - {wanted[0], wanted[2]}
    corpus = {image.id: image for image in read_corpus(tmp_path / "captions-2.csv").images}
    for name in after.annotated:
        kept = [corpus[name].captions[index] for index in after.captions_kept[name]]
        assert kept == texts.get(name, kept)
    assert after.captions_kept[wanted[0]] == (0, 1)
    # What is ranked stays: val and test are those that they were.
    old = read_corpus(tmp_path / "captions.csv")
    for split in ("val", "test"):
        assert {i.id: i.captions for i in old.split(split)} == {
            i.id: i.captions for i in corpus.values() if i.split == split
        }
    assert run(*TRAIN, command="train") == 0
    assert run(command="evaluate") == 0
    # And on: the next round proposes others.
    assert run("--budget", "99", "--overwrite", "--run", "cca") == 0
    assert {row["image"] for row in rows(sheet)} == set(after.unannotated)


def test_where_nothing_is_annotated_it_begins(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (prepared / "annotations.json").unlink()
    (prepared / "workspace.toml").write_text("images = []\n")
    assert run("--budget", "30", "--per-image", "1", "--out", "first.csv") == 0
    assert "`weaksup subsample --captions first.csv --ratio 1`" in capsys.readouterr().out
    found = rows(tmp_path / "first.csv")
    # All but the unreadable one, and no split: a part of them becomes val and test.
    assert len({row["image"] for row in found}) == len(found) == 24
    assert {row["split"] for row in found} == {""}
    fill(tmp_path / "first.csv", {row["image"]: ["a dog"] for row in found})
    assert run("--captions", "first.csv", "--ratio", "1", command="subsample") == 0
    kept = read_annotations(prepared / "annotations.json")
    assert 12 <= len(kept.annotated) < 24
    assert run("--budget", "1", "--captions", "first.csv", "--out", "b.csv") == 3


def test_without_the_other_captions_it_is_read_too(prepared: Path, tmp_path: Path) -> None:
    assert run("--budget", "2", "--out", "next.csv", "--strategy", "random") == 0
    wanted = list(dict.fromkeys(row["image"] for row in rows(tmp_path / "next.csv")))
    assert run("--captions", "next.csv", "--ratio", "1", command="subsample") == 3
    fill(tmp_path / "next.csv", {name: ["a dog", "a cat"] for name in wanted})
    assert run("--captions", "next.csv", "--ratio", "1", command="subsample") == 0
    assert set(read_annotations(prepared / "annotations.json").annotated) == set(wanted)
    assert run(*TRAIN, "--captions", "next.csv", command="train") == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy(prepared: Path, tmp_path: Path, strategy: str) -> None:
    assert run(*TRAIN, command="train") == 0
    others = set(read_annotations(prepared / "annotations.json").unannotated)
    given = ("--strategy", strategy, "--run", "cca", "--per-image", "1")
    found = {}
    for budget in (2, 6):
        out = tmp_path / f"{budget}.csv"
        assert run("--budget", budget, "--out", out, *given) == 0
        found[budget] = [row["image"] for row in rows(out)]
        assert len(set(found[budget])) == budget
        assert set(found[budget]) <= others
    assert found[6][:2] == found[2]
    again = tmp_path / "again.csv"
    assert run("--budget", 6, "--out", again, *given) == 0
    assert again.read_bytes() == (tmp_path / "6.csv").read_bytes()


def test_the_page(prepared: Path, tmp_path: Path) -> None:
    annotations = json.loads((prepared / "annotations.json").read_text())
    folder = tmp_path / "images"
    (folder / "photos").mkdir(parents=True)
    gone, *there = annotations["unannotated"]
    for name in there:
        Image.new("RGB", (800, 400), (90, 120, 90)).save(folder / name)
    memory = prepared / "workspace.toml"
    memory.write_text(memory.read_text().replace("images = []", f'images = ["{folder}"]'))
    assert run("--budget", "99", "--out", "new/page.html") == 0
    text = (tmp_path / "new/page.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == len(there)
    assert re.search(rf'class="gone" [^>]*{gone}; the file is not there', text)
    assert "1 of the pictures could not be read" in " ".join(re.sub("<[^>]*>", "", text).split())
    assert "prefers-color-scheme: dark" in text
    for word in ("<script", "<link", "url(", "href="):
        assert word not in text


def test_wrong_usage(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "held.csv").write_text("image,caption\nphotos/16.jpg,a cat\n")
    (tmp_path / "empty.csv").write_text("image,caption\nphotos/01.jpg,\n")
    (tmp_path / "there.csv").write_text("hours of work")
    for arguments, code, message in (
        ([], 2, "one of --budget and --add is needed"),
        (["--budget", "1", "--add", "held.csv"], 2, "one of --budget and --add is needed"),
        (["--budget", "0"], 2, "0 is not in the range"),
        (["--budget", "3", "--out", "a.txt"], 2, "end it in .csv or .html"),
        (["--budget", "3", "--out", "there.csv"], 2, "may have been filled in"),
        (["--add", "held.csv", "--out", "held.csv", "--overwrite"], 2, "is the worksheet"),
        (["--add", "held.csv"], 3, "which is in val of"),
        (["--add", "empty.csv"], 3, "there is no caption in it"),
        (["--add", "captions.csv"], 3, "captions.csv has the captions that there are already, in"),
        (["--add", "there.csv"], 3, "no worksheet: there.csv: is in no known captions format"),
        (["--add", "there.csv"], 3, "takes the csv file that `weaksup suggest --budget N` writes"),
        (["--add", tmp_path], 3, f"no worksheet: {tmp_path}: is a folder"),
        (["--budget", "3", "--strategy", "uncertain"], 3, "weaksup train"),
        (["--budget", "3", "--run", "none"], 2, "there is no such folder"),
        (["--budget", "3", "--workspace", tmp_path / "x"], 3, "weaksup extract"),
    ):
        assert run(*arguments) == code, arguments
        said = capsys.readouterr()
        assert message in said.err, arguments
        assert "Traceback" not in said.err
    assert (tmp_path / "there.csv").read_text() == "hours of work"
    assert run("--ratio", "1", command="subsample") == 0
    assert run("--budget", "3") == 3
    assert "every training image is annotated already" in capsys.readouterr().err
