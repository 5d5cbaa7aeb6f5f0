"""Ends of the command line that belong to no command: each has its exit code and one message."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from weaksup.cli import main


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    return end.value.code


def test_ctrl_c_while_the_command_line_loads_is_no_traceback():
    # The signal comes where a user's would: at the import of click, and before anything is done.
    code = """
import importlib.abc, os, signal, sys
class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from weaksup.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "error: interrupted before anything was done\n"


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text("image,caption,split\na.jpg,x,train\n")
    return path


def test_a_workspace_that_cannot_be_made(captions, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "workspace"
    assert run("subsample", "--captions", captions, "--workspace", place) == 2
    err = capsys.readouterr().err
    assert f"the workspace {place} cannot be made: {tmp_path / 'file'} is a file" in err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EACCES, "Permission denied", "/there/file"), "/there/file: Permission"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (OSError("of HDF5"), "error: of HDF5"),
    ],
)
def test_an_error_of_the_system_is_bad_data_and_no_defect(
    captions, tmp_path, capsys, monkeypatch, error, message
):
    def fail(*arguments, **named):
        raise error

    monkeypatch.setattr("weaksup.cli.subsample.write_annotations", fail)
    words = ("subsample", "--captions", captions, "--workspace", tmp_path / "workspace")
    assert run(*words) == 3
    err = capsys.readouterr().err
    assert message in err
    assert "defect" not in err
    assert "Traceback" not in err
    assert run(*words, "--debug") == 3
    assert "Traceback" in capsys.readouterr().err


def test_anything_else_is_a_defect(captions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("weaksup.cli.subsample.write_annotations", lambda *arguments: 1 / 0)
    words = ("subsample", "--captions", captions, "--workspace", tmp_path / "workspace")
    assert run(*words) == 1
    assert "this is a defect of weaksup" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("index", "--kind", "hnws"), "did you mean 'hnsw'? see `weaksup index --help`"),
        (("search", "a dog", "--format", "jsn"), "did you mean 'json'?"),
        (("suggest", "--budget", 3, "--strategy", "divers"), "did you mean 'diverse'?"),
        (("serch", "a dog"), "did you mean 'search'?"),
        (("trian",), "did you mean 'train'?"),
    ],
)
def test_a_mistyped_choice_is_told_what_was_meant(capsys, words, meant):
    assert run(*words) == 2
    assert f"hint: {meant}" in capsys.readouterr().err


def test_what_is_like_nothing_is_not_guessed(capsys):
    for words in (("index", "--kind", "qqqq"), ("search", "a dog", "--top", "x"), ("nocommand",)):
        assert run(*words) == 2
        assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (
            ("--workspace", "my ws", "extract", "--images", "photos"),
            "--workspace belongs after the command: weaksup extract --workspace 'my ws' "
            "--images photos",
        ),
        (("--epochs=3", "train"), "--epochs belongs after the command: weaksup train --epochs=3"),
        # The name of a command may be a value.
        (
            ("--run", "demo", "evaluate"),
            "--run belongs after the command: weaksup evaluate --run demo",
        ),
        (("--epochs", 3, "extract"), "options belong after the command; see `weaksup --help`"),
        (("--workspace", "ws"), "options belong after the command; see `weaksup --help`"),
    ],
)
def test_an_option_before_the_command_is_told_where_it_belongs(capsys, words, hint):
    assert run(*words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: No such option")
    assert f"hint: {hint}" in err
