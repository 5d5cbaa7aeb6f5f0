"""Commands after an extraction of which no image could be read: each says that, and what mends it.

The captions fit the store's names, so that nothing else is wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from weaksup.cli import main
from weaksup.workspace import Workspace

IMAGES = 12


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A workspace in the current folder, extracted from files that are no pictures."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number in range(IMAGES):
        Path(f"photos/{number:02}.jpg").write_bytes(b"no picture")
    lines = [f"{number:02}.jpg,a dog" for number in range(IMAGES)]
    Path("captions.csv").write_text("\n".join(["image,caption", *lines, ""]))
    assert run("extract", "--images", "photos", "--detector", "demo") == 3
    assert f"none of {IMAGES} images could be read:" in capsys.readouterr().err
    return Workspace.open()


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main([*words])
    assert isinstance(end.value.code, int)
    return end.value.code


def says_it(err: str) -> None:
    where = Path("weaksup-workspace/regions.h5")
    assert f"none of {IMAGES} images in the region store {where} could be read: 00.jpg:" in err
    assert "`weaksup extract --images DIR --overwrite`" in err


@pytest.mark.parametrize(
    "words",
    [
        ("subsample",),
        ("suggest", "--budget", "2"),
        ("suggest", "--add", "captions.csv", "--captions", "captions.csv"),
        ("compare", "flickr8k"),
        ("export", "--out", "precomp"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_it_is_no_store_to_work_with(
    broken: Workspace, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 3
    says_it(capsys.readouterr().err)
    assert not broken.annotations.exists()


@pytest.mark.parametrize("command", ["inspect", "concepts"])
def test_what_is_there_is_shown_with_what_is_wrong(
    broken: Workspace, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 0
    said = capsys.readouterr()
    assert said.out
    says_it(said.out + said.err)
    assert "warning: none of" in said.err
    assert "subsample --ratio" not in said.out + said.err
