"""Places that cannot be written: every command says so the same way, before it does anything."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from weaksup.cli import main
from weaksup.cli.places import check_place
from weaksup.errors import UsageError
from weaksup.files import why_not_writable


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A regular file in the current folder, beside what the commands are given, and no workspace:
    whatever looks for one before it looks at the place has another message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEAKSUP_WORKSPACE", raising=False)
    Path("photos").mkdir()
    Path("captions.csv").write_text("image,caption\n")
    Path("file.txt").write_text("mine")
    return "file.txt"


WRITING = {
    "extract": ("extract", "--images", "photos", "--out", "{}"),
    "import": ("import", "photos", "--out", "{}"),
    "subsample": ("subsample", "--captions", "captions.csv", "--out", "{}"),
    "evaluate": ("evaluate", "--json", "{}"),
    "concepts": ("concepts", "--out", "{}.csv"),
    "report": ("report", "--out", "{}"),
    "suggest": ("suggest", "--budget", "3", "--out", "{}.csv"),
    "suggest --add": ("suggest", "--add", "captions.csv", "--out", "{}.csv"),
    "inspect --picture": ("inspect", "--image", "a.jpg", "--picture", "{}.png"),
    "inspect --json": ("inspect", "--json", "{}"),
    "search": ("search", "a dog", "--format", "picture", "--out", "{}.png"),
    "export": ("export", "--out", "{}"),
    "doctor": ("doctor", "--json", "{}"),
    "demo": ("demo", "--workspace", "{}"),
}


@pytest.mark.parametrize("words", WRITING.values(), ids=WRITING.keys())
def test_below_a_file_nothing_can_be_written(
    file: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(word.format(f"{file}/new/x") for word in words)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    place = words[-1].format(f"{file}/new/x")
    reason = f"{Path(file).resolve()} is a file, not a folder"
    assert f"error: {place} cannot be written: {reason}" in said.err
    assert f"hint: name another with {words[-2]}" in said.err
    assert sorted(path.name for path in Path().iterdir()) == ["captions.csv", "file.txt", "photos"]


@pytest.mark.parametrize("command", ["extract", "subsample", "train", "inspect", "compare"])
def test_a_workspace_is_not_below_a_file(
    file: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"extract": ("--images", "photos"), "compare": ("flickr8k",)}.get(command, ())
    assert run(command, *words, "--workspace", f"{file}/w") == 2
    assert "file.txt is a file, not a folder" in capsys.readouterr().err


def test_what_can_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    before = tmp_path.stat().st_mtime_ns
    for name in ("there", "new", "new/folders/file", "."):
        assert why_not_writable(tmp_path / name) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert tmp_path.stat().st_mtime_ns == before
    assert "File name too long" in why_not_writable(tmp_path / ("x" * 300) / "y")
    # Of an administrator, permissions alone would say that it can be.
    assert why_not_writable(Path("/proc/x/y")).endswith("(/proc)")


def test_a_run_that_may_only_be_read(
    prepared: Path, only_reading: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert run("train", "--model", "cca", "--set", "min_count=1") == 0
    folder = prepared / "runs" / "cca"
    folder.chmod(0o555)
    try:
        for command, hint in (("evaluate", "--json"), ("index", "--run")):
            ended = only_reading(command)
            assert (ended.returncode, ended.stdout) == (2, "")
            assert f"error: {folder} cannot be written: Permission denied" in ended.stderr
            assert hint in ended.stderr
        ended = only_reading("evaluate", "--json", "figures.json")
        assert ended.returncode == 0
        assert "the figures could not be kept" in ended.stderr
    finally:
        folder.chmod(0o755)


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(UsageError, match="/dev/null is no file that could be replaced"):
        check_place(Path("/dev/null"), option="--out")
    check_place(Path("/dev/null"), option="--json", special=True)
