"""The tutorial's commands run in their order, on fewer pictures, and end as the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from weaksup.cli import main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
CONSOLES = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TOML = re.search(r"^```toml\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# What is said of files and of the next step does not depend on how many pictures there are.
SAID = ("written: ", "wrote ", "next: ")
SMALLER = {
    "python -m pipelines.scenes mine": ("--scenes", "60"),
    "weaksup train --config demo.toml": ("--epochs", "1"),
}
# An example, which comes from the captions of the pictures that there are.
SENTENCE = re.compile(r"(?<=search )'.*'")
# It ends when it is interrupted; tests/weaksup/cli/test_serve.py does so.
ENDLESS = "weaksup serve"


def sessions():
    """Each command with the lines that follow it, in the page's order."""
    for block in CONSOLES:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.rstrip("\n").split("\n")
            yield command, lines


def run(command, capsys):
    """What a command prints, on both streams."""
    words = [*shlex.split(command), *SMALLER.get(command, ())]
    if words[0] == "python":
        return subprocess.run(
            [sys.executable, *words[1:]], check=True, capture_output=True, text=True
        ).stdout
    with pytest.raises(SystemExit) as ended:
        main(words[1:])
    found = capsys.readouterr()
    assert not ended.value.code, f"{command}: {found.err}"
    return found.out + found.err


def test_the_commands_end_as_the_page_says(tmp_path, monkeypatch, capsys):
    torch.set_num_threads(1)
    monkeypatch.delenv("WEAKSUP_WORKSPACE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    checked = 0
    for command, lines in sessions():
        if command.startswith("cd "):
            monkeypatch.chdir(tmp_path / command.split()[1])
            name, text = TOML.groups()
            Path(name).write_text(re.sub(r"^epochs = \d+", "epochs = 1", text, flags=re.MULTILINE))
        elif not command.startswith(ENDLESS):
            printed = [SENTENCE.sub("...", line) for line in run(command, capsys).splitlines()]
            expected = [SENTENCE.sub("...", line) for line in lines if line.startswith(SAID)]
            missing = set(expected) - set(printed)
            assert not missing, f"{command} printed {printed}"
            checked += len(expected)
    assert checked > 20


def test_every_command_of_the_way_is_in_it():
    named = [command.split()[1] for command, _ in sessions() if command.startswith("weaksup ")]
    assert {"extract", "subsample", "train", "evaluate", "index", "search", "serve"} <= set(named)
