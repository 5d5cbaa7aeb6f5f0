"""The whole demo, small: what it makes, what it prints, and that it does nothing twice."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from pipelines.demo import COMPARISON, run_demo
from pipelines.examples import choose_examples
from trainer.config import load_config
from weaksup.cli import weaksup
from weaksup.errors import UsageError

SCENES, EPOCHS = 60, 2


def run(folder, **settings):
    """The demo's own output; the commands print to stdout."""
    console = Console(record=True, width=200, soft_wrap=True)
    picture = run_demo(folder, **{"scenes": SCENES, "epochs": EPOCHS, **settings}, console=console)
    return picture, console.export_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "demo workspace"
    picture, shown = run(folder)
    return folder, picture, shown


def report(folder, name):
    return json.loads((folder / "runs" / name / "evaluation-test.json").read_text())


def stamps(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".png"
    }


def test_it_prints_the_commands_that_a_user_would_type(finished):
    folder, _, shown = finished
    lines = [line for line in shown.splitlines() if line.startswith("$ ")]
    commands = [re.match(r"\$ weaksup (\w+)", line).group(1) for line in lines]
    assert commands == ["extract", "subsample", "subsample", *["train", "evaluate"] * 4]
    assert f"--workspace '{folder}'" in lines[0]
    assert all("done before" not in line for line in lines)


def test_the_table_says_what_the_evaluations_found(finished):
    folder, _, shown = finished
    rows = [re.findall(r"[^│┃]+", line) for line in shown.splitlines() if line.startswith("│")]
    assert len(rows) == len(COMPARISON)
    for entry, row in zip(COMPARISON, rows, strict=True):
        found = report(folder, entry.run)
        label, kept, *figures, rsum = (cell.strip() for cell in row)
        assert (label, kept) == (entry.label, "100%" if entry.everything else "20%")
        assert rsum == f"{found['rsum']:.1f}"
        assert figures[1].split("/")[1] == f"{found['text_to_image']['R@5']:.1f}"
        assert found["split"] == "test"
        assert found["images"] == SCENES - round(0.85 * SCENES)


def test_the_ablation_sees_gold_pairs_alone_and_all_else_is_equal(finished):
    folder, *_ = finished
    full, ablated = (
        json.loads((folder / "runs" / entry.run / "config.json").read_text())["config"]
        for entry in COMPARISON[:2]
    )
    assert full["loss"]["w_weak"] > 0
    assert full["fusion"]["concepts"] > 0
    assert full["fusion"]["objects"] > 0
    assert full["unannotated"]
    full["unannotated"] = False
    full["loss"]["w_weak"] = full["fusion"]["concepts"] = full["fusion"]["objects"] = 0.0
    assert full == ablated
    # A term that is new must be switched off, too.
    assert [n for n in ablated["loss"] if n.startswith("w_") and ablated["loss"][n]] == ["w_gold"]


def test_the_picture_shows_what_the_model_ranks(finished):
    folder, path, _ = finished
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 1000
    examples = choose_examples(
        folder / "runs" / "a3vse-20", images=folder / "scenes/images", count=3, top=2
    )
    assert len(examples) == 3
    for example in examples:
        assert len(example.results) == 2
        assert all(file.is_file() for file in (example.scene, *example.results))
        assert (example.rank <= 2) == (example.scene in example.results)
        if example.rank == 1:
            assert example.results[0] == example.scene
    assert any(example.boxes for example in examples)


def test_it_ends_with_commands_that_lead_to_the_page(finished):
    folder, _, shown = finished
    ends = [line for line in shown.splitlines() if line.startswith("next: weaksup ")][-2:]
    index, serve = (shlex.split(line.removeprefix("next: ")) for line in ends)
    weaksup.main(args=index[1:], prog_name="weaksup", standalone_mode=False)
    assert (folder / "runs" / COMPARISON[0].run / "index").is_dir()
    assert serve[1] == "serve"
    assert serve[2:] == index[2:]


def test_outside_of_the_virtual_environment_it_says_how_to_enter_it(
    finished, tmp_path, monkeypatch
):
    folder, _, _ = finished
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert "source " not in run(folder)[1]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert "source " not in run(folder)[1]  # there is none
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/activate").touch()
    first, *others = run(folder)[1].splitlines()[-3:]
    assert first == f"next: source {tmp_path}/bin/activate"
    assert all(line.startswith("next: weaksup ") for line in others)


def test_a_second_call_does_nothing_again(finished):
    folder, _, first = finished
    before = stamps(folder)
    _, shown = run(folder)
    assert stamps(folder) == before
    assert shown.count("done before") == 1 + 3 + 2 * len(COMPARISON)
    assert table_of(shown) == table_of(first)


def table_of(text):
    return [line for line in text.splitlines() if line.startswith("│")]


def test_it_goes_on_where_it_was_interrupted(finished, tmp_path):
    folder, *_ = finished
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "runs/cca-20/evaluation-test.json").unlink()
    (copy / "demo.png").unlink()
    before = stamps(copy)
    picture, shown = run(copy)
    assert picture.exists()
    changed = {path for path, time in stamps(copy).items() if before.get(path) != time}
    assert {path.relative_to(copy).as_posix() for path in changed} == {
        "runs/cca-20/evaluation-test.json"
    }
    assert shown.count("done before") == 1 + 3 + 2 * len(COMPARISON) - 1


@pytest.mark.parametrize("other", [{"scenes": 80}, {"epochs": None}])
def test_other_settings_in_the_same_folder_are_refused(finished, other):
    folder, *_ = finished
    with pytest.raises(UsageError, match=f"scenes {SCENES}"):
        run(folder, **other)


def test_the_configuration_is_valid(finished):
    folder, *_ = finished
    config = load_config(model="a3vse", file=folder / "demo.toml", overrides={})
    assert config.epochs > EPOCHS
