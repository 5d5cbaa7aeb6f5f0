"""``weaksup inspect`` as a user calls it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from weaksup.cli import main

TRAIN = ("--model", "a3vse", "--epochs", "1", "--set", "embed_size=8", "--set", "regions.heads=2")


def run(*arguments: object, command: str = "inspect") -> int:
    with pytest.raises(SystemExit) as ended:
        main([command, *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def photos(prepared: Path, tmp_path: Path) -> Path:
    """The files of the first images, in a folder that the workspace remembers."""
    folder = tmp_path / "images"
    (folder / "photos").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (40, 30), (90, 90 + number, 90)).save(folder / f"photos/{number:02}.jpg")
    memory = prepared / "workspace.toml"
    memory.write_text(memory.read_text().replace("images = []", f'images = ["{folder}"]'))
    return folder


def test_a_store(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", tmp_path / "found.json") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert " 2 / 2 / 2 " in said.out
    assert "next: `weaksup inspect --image" in said.out
    found = json.loads((tmp_path / "found.json").read_text())["store"]
    assert (found["images"], found["unreadable"], found["feature_size"]) == (25, 1, 4)
    frequent = {each["name"]: each["images"] for each in found["frequent"]["object"]}
    assert sum(frequent.values()) == 24
    assert found["provenance"]["detector"] == "demo"


def test_a_run(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TRAIN, command="train") == 0
    assert run("--run", "a3vse", "--json", tmp_path / "found.json") == 0
    said = capsys.readouterr().out
    assert "embed_size=8, regions.heads=2" in said
    assert "not evaluated yet" in said
    assert run(command="evaluate") == 0
    assert run("--run", "a3vse", "--json", tmp_path / "found.json") == 0
    assert "evaluation, test" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())["run"]
    report = json.loads((prepared / "runs/a3vse/evaluation-test.json").read_text())
    assert found["evaluations"] == {"test": report}
    assert (found["epochs"], found["best_epoch"]) == (1, 0)
    (prepared / "runs/a3vse/evaluation-test.json").write_text('{"rsum": 3}')
    assert run("--run", "a3vse") == 3


def test_an_image_and_its_picture(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = tmp_path / "new" / "out.png"
    assert run("--image", "photos/03.jpg", "--picture", drawn) == 0
    said = capsys.readouterr().out
    assert "0.50" in said
    assert "dog" in said
    alone = Image.open(drawn).size
    assert run(*TRAIN, command="train") == 0
    arguments = ("--image", "03.jpg", "--text", "sunny [dog] zeppelin", "--picture", drawn)
    assert run(*arguments, "--json", tmp_path / "found.json") == 0
    said = capsys.readouterr().out
    assert "zeppelin" in said
    for name in ("words", "regions"):
        line = re.search(f"weights of {name}, in percent: (.*)", said).group(1)
        assert round(sum(map(float, re.findall(r"\d+\.\d", line))), 6) == 100
    lines = [line.strip("│ ").split("│") for line in said.splitlines() if line.startswith("│")]
    adds = [float(line[3]) for line in lines if len(line) == 4]
    assert len(adds) > 2
    similarity = float(re.search(r"similarity (-?\d\.\d{3})", said).group(1))
    assert round(sum(adds[:-1]), 6) == adds[-1] == similarity
    assert Image.open(drawn).size[1] > alone[1]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["image"] == "photos/03.jpg"
    assert len(found["explanation"]["regions"]) == 2
    assert sum(found["explanation"]["regions"]) == pytest.approx(1, abs=1e-4)
    assert [word["text"] for word in found["explanation"]["words"]] == ["sunny", "dog", "zeppelin"]


def test_another_number_is_no_typing_error(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image, meant in (
        ("photos/3.jpg", "did you mean photos/03.jpg? "),
        ("photo/0012.JPG", "did you mean photos/12.jpg? "),
        ("photos/33.jpg", ""),
        ("photos/103.jpg", ""),
        ("photos/dog.jpg", ""),
    ):
        assert run("--image", image) == 2
        hint = f"hint: {meant}ids are paths relative to the image folder, such as photos/00.jpg"
        assert hint in capsys.readouterr().err


def test_wrong_usage(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, message in (
        (["--picture", tmp_path / "out.png"], 2, "--picture is about one image"),
        (["--text", "a dog"], 2, "--text is about one image"),
        (["--image", "photos/03.jpg", "--text", " "], 2, "--text is empty"),
        (["--image", "photos/03.jpg", "--picture", "out.gif"], 2, ".png, .jpg"),
        (["--image", "photos/3.jpg"], 2, "did you mean photos/"),
        (["--image", "photos/24.jpg"], 3, "truncated"),
        (["--image", "photos/20.jpg", "--picture", "out.png"], 3, "is not in"),
        (["--image", "photos/03.jpg", "--text", "a dog"], 3, "weaksup train"),
        (["--run", "nothing"], 2, "there is no such folder"),
        (["--workspace", tmp_path / "none"], 3, "weaksup extract"),
        (["--image", "photos/03.jpg", "--picture", "/proc/x/out.png"], 2, "cannot be written"),
    ):
        assert run(*arguments) == code, arguments
        said = capsys.readouterr()
        assert message in said.err, arguments
        assert "Traceback" not in said.err
    (photos / "photos/02.jpg").write_bytes(b"no picture")
    assert run("--image", "photos/02.jpg", "--picture", "out.png") == 3
    assert "cannot be read" in capsys.readouterr().err
