"""The command itself; tests/pipelines/test_demo.py runs the recipe behind it."""

from __future__ import annotations

import pytest

from weaksup.cli import main


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(["demo", *map(str, words)])
    return end.value.code


def test_help_names_the_options(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert "demo-workspace" in shown
    assert "--scenes" in shown


@pytest.mark.parametrize("words", [("--scenes", 3), ("--scenes", "many"), ("--epochs", 0)])
def test_wrong_options_make_nothing(tmp_path, capsys, words):
    assert run("--workspace", tmp_path / "demo", *words) == 2
    assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("all of it")
    assert run("--workspace", tmp_path) == 2
    assert "--workspace" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "demo").write_text("")
    assert run("--workspace", tmp_path / "demo") == 2
    assert "demo" in capsys.readouterr().err
