"""``weaksup doctor`` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weaksup.cli import main
from weaksup.detectors.install import DETECTRON2


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_where_all_that_is_needed_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--workspace", tmp_path / "new", "--json", tmp_path / "found.json") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"next: weaksup extract --workspace {tmp_path / 'new'} --images DIR" in said.out
    content = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    found = {finding["name"]: finding for finding in content["findings"]}
    assert content["complete"] is True
    assert all(each["state"] == "ok" for each in found.values() if each["needed"])
    assert {"torch", "WordNet data", "CUDA", "detectron2", "ray", "free disk space"} <= found.keys()
    # What is not there has its command on a line of its own.
    for finding in found.values():
        if finding["state"] != "ok":
            for line in finding["mend"].splitlines():
                assert f"    {line}\n" in said.out
    if found["detectron2"]["state"] == "missing":
        assert found["detectron2"]["mend"] == DETECTRON2
    assert not (tmp_path / "new").exists()


def test_where_packages_are_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("spacy", "detectron2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ValueError('[bold]of no use')")
    monkeypatch.syspath_prepend(tmp_path)
    assert run("--workspace", tmp_path) == 4
    said = capsys.readouterr()
    assert "ValueError:" in said.out
    assert "[bold]of" in said.out
    assert "python -m pip install --force-reinstall 'spacy" in said.out
    assert "error: weaksup cannot work here: spacy, spacy-lookups-data\n" in said.err
    assert "Traceback" not in said.out + said.err
    assert "--no-build-isolation" in said.out


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run("--workspace", tmp_path / "file") == 2
    assert "is a file" in capsys.readouterr().err
