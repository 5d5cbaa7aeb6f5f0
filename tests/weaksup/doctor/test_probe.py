"""Imports that fail in every way that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from weaksup.doctor.probe import probe

BROKEN = {
    "raises_at_import": "raise RuntimeError('built for\\n another machine')",
    "exits_at_import": "raise SystemExit(3)",
    "lacks_another": "import there_is_no_such_module",
    "dies_at_import": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "leaves_at_import": "import os; os._exit(7)",
    "prints_at_import": "print('{\"error\": \"no\"}'); __version__ = '1.2'",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in BROKEN.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "never_ends.py").write_text("while True: pass")
    monkeypatch.syspath_prepend(tmp_path)


def test_each_module_has_its_answer_whatever_those_before_it_did() -> None:
    found = probe([*BROKEN, "not_there_at_all", "json"])
    assert {name: result.error for name, result in found.items()} == {
        "raises_at_import": "RuntimeError: built for another machine",
        "exits_at_import": "SystemExit: 3",
        "lacks_another": "ModuleNotFoundError: No module named 'there_is_no_such_module'",
        "dies_at_import": "importing it ends the process with SIGSEGV",
        "leaves_at_import": "importing it ends the process with code 7",
        "prints_at_import": "",
        "not_there_at_all": "not installed",
        "json": "",
    }
    assert [name for name, result in found.items() if result.missing] == ["not_there_at_all"]
    assert found["prints_at_import"].version == "1.2"


def test_an_import_without_end_is_ended() -> None:
    found = probe(["json", "never_ends"], seconds=2)
    assert not found["json"].error
    assert found["never_ends"].error == "importing it does not end"
