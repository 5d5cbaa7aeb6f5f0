"""``weaksup report`` as a user calls it."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from weaksup.cli import main

TRAIN = ("--epochs", "2", "--set", "embed_size=8", "--set", "regions.heads=2")
HOSTILE = "<script>alert('x')</script> & a \"dog\""


def run(*arguments: object, command: str = "report") -> int:
    with pytest.raises(SystemExit) as ended:
        main([command, *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f"{data} "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def trained(prepared: Path, tmp_path: Path) -> Path:
    """A workspace with a run, and files of all images but those of the test's first."""
    captions = tmp_path / "captions.csv"
    quoted = HOSTILE.replace('"', '""')
    lines = captions.read_text(encoding="utf-8").splitlines()
    lines = [
        re.sub(r",.*,test", lambda _: f',"{quoted}",test', line) if "21.jpg" in line else line
        for line in lines
    ]
    captions.write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = tmp_path / "images" / "photos"
    folder.mkdir(parents=True)
    for number in range(25):
        if number != 20:
            Image.new("RGB", (600, 300), (9 * number, 90, 90)).save(folder / f"{number:02}.jpg")
    memory = prepared / "workspace.toml"
    memory.write_text(memory.read_text().replace("images = []", f'images = ["{folder.parent}"]'))
    assert run("--ratio", "0.5", command="subsample") == 0
    assert run(*TRAIN, command="train") == 0
    return prepared


def read(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.open
    return page


def test_the_file_needs_no_other_and_user_text_is_text(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run() == 0
    path = trained / "runs/a3vse/report.html"
    said = capsys.readouterr()
    assert f"written: {path}" in said.out
    assert said.err == ""
    page = read(path)
    assert HOSTILE in page.text
    for tag in ("script", "link", "iframe", "object"):
        assert not page.all(tag)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:").startswith("data:image/jpeg;base64,") or (
            "src" not in attributes
        )
        assert "href" not in attributes
    assert "url(" not in path.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")


def test_pictures_are_small_and_told(trained: Path) -> None:
    assert run() == 0
    page = read(trained / "runs/a3vse/report.html")
    images = page.all("img")
    assert images
    for attributes in images:
        assert "photos/" in (attributes["alt"] or "")
        data = base64.b64decode((attributes["src"] or "").partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (200, 100)
    charts = page.all("svg")
    assert len(charts) >= 3
    assert all(chart["role"] == "img" for chart in charts)
    # Image 20 has no file: its name stands in its place, and a note says so.
    gone = [each for each in page.all("span") if each.get("class") == "gone"]
    assert gone
    assert all("photos/20.jpg" in (each["aria-label"] or "") for each in gone)
    assert "1 of the pictures shown here could not be read" in page.text


def test_every_curve_is_explained(trained: Path) -> None:
    every = ("--set", "loss.w_pseudo=1", "--set", "loss.w_adv=1", "--name", "every")
    assert run(*TRAIN, *every, command="train") == 0
    assert run("--run", "every") == 0
    page = read(trained / "runs/every/report.html")
    assert len(page.all("figure")) == len(page.all("figcaption")) == 8
    assert "Loss: adversarial, textual" in page.text


def test_the_figures_are_those_of_evaluate(trained: Path) -> None:
    assert run(command="evaluate") == 0
    assert run() == 0
    report = json.loads((trained / "runs/a3vse/evaluation-test.json").read_text())
    text = " ".join(read(trained / "runs/a3vse/report.html").text.split())
    assert f"rsum on test {report['rsum']:.1f}" in text
    for way in ("text_to_image", "image_to_text"):
        figures = report[way]
        shown = text[text.index(f"{way.replace('_', ' ')} {figures['R@1']:.1f}") :]
        found = re.findall(r"\d+\.\d", shown)
        # Each recall is followed by the ends of its interval.
        assert [float(value) for value in found[0:9:3]] == [
            round(figures[name], 1) for name in ("R@1", "R@5", "R@10")
        ]
        assert float(found[9]) == round(figures["median_rank"], 1)


def test_what_is_to_be_annotated_is_not_annotated(trained: Path) -> None:
    assert run() == 0
    annotations = json.loads((trained / "annotations.json").read_text())
    page = read(trained / "runs/a3vse/report.html")
    suggested = {
        (each["alt"] or "").removeprefix("un-annotated image ")
        for each in page.all("img")
        if (each["alt"] or "").startswith("un-annotated")
    }
    assert suggested
    assert suggested <= set(annotations["unannotated"])


def test_it_suggests_what_suggest_does(trained: Path, tmp_path: Path) -> None:
    assert run() == 0
    page = read(trained / "runs/a3vse/report.html")
    shown = [
        alt.removeprefix("un-annotated image ")
        for alt in (each["alt"] or "" for each in page.all("img"))
        if alt.startswith("un-annotated")
    ]
    sheet = tmp_path / "next.csv"
    assert run("--budget", 12, "--per-image", 1, "--out", sheet, command="suggest") == 0
    with sheet.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert shown == [row["image"] for row in rows]
    assert all(row["reason"] in " ".join(page.text.split()) for row in rows)


def test_where_everything_is_annotated_nothing_is_suggested(trained: Path) -> None:
    assert run("--ratio", "1", command="subsample") == 0
    assert run() == 0
    page = read(trained / "runs/a3vse/report.html")
    assert "Nothing: every training image is annotated." in page.text


def test_without_pictures_annotations_or_curves(trained: Path, tmp_path: Path) -> None:
    memory = trained / "workspace.toml"
    memory.write_text(re.sub(r"images = \[[^]]*\]", "images = []", memory.read_text()))
    (trained / "annotations.json").unlink()
    (trained / "runs/a3vse/metrics.jsonl").unlink()
    out = tmp_path / "new" / "page.html"
    assert run("--out", out, "--split", "val") == 0
    page = read(out)
    assert not page.all("img")
    assert "the workspace remembers none" in page.text
    assert "metrics.jsonl of the run holds no curves" in page.text
    assert "annotations.json" in page.text.partition("What to annotate next")[2]
    assert "rsum on val" in page.text


def test_a_closed_form_model_has_no_curves(trained: Path) -> None:
    assert run("--model", "cca", command="train") == 0
    assert run("--run", "cca") == 0
    assert "solved in closed form" in read(trained / "runs/cca/report.html").text


def test_wrong_usage(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, message in (
        (["--run", "a3vs"], 2, "did you mean 'a3vse'?"),
        (["--out", tmp_path], 2, "is a directory"),
        (["--out", "/proc/x/page.html"], 2, "name another with --out"),
        (["--workspace", tmp_path / "none"], 3, "weaksup train"),
    ):
        assert run(*arguments) == code, arguments
        said = capsys.readouterr()
        assert message in said.err, arguments
        assert "Traceback" not in said.err
    (tmp_path / "captions.csv").unlink()
    assert run() == 3
    assert "--captions" in capsys.readouterr().err
