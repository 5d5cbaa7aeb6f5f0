"""The tabulator key, in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BASH = """
eval "$(_WEAKSUP_COMPLETE=bash_source weaksup)"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_weaksup_completion weaksup
printf '%s\\n' "${COMPREPLY[@]}"
"""
# Outside of its line editor zsh has no list to fill: these print what it would be told.
ZSH = """
autoload -U compinit; compinit -u -D
eval "$(_WEAKSUP_COMPLETE=zsh_source weaksup)"
compadd() { print -l -- ${(P)@[-1]} }
_describe() { for item in "${(@P)3}"; do print -- ${item%%:*}; done }
words=("$@"); CURRENT=$#
${_comps[weaksup]}
"""


@pytest.fixture
def complete(tmp_path):
    # The command as it is installed beside this interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def run(shell, *words):
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        script = {"bash": BASH, "zsh": ZSH}[shell]
        flags = {"bash": ["--norc"], "zsh": ["-f"]}[shell]
        result = subprocess.run(
            [shell, *flags, "-c", script, shell, *words],
            env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.split()

    return run


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ex"], {"extract", "export"}),
        (["train", "--mod"], {"--model"}),
        (["train", "--model", "vse"], {"vsepp", "vse-infty"}),
        (["extract", "--detector", "on"], {"onnx"}),
    ],
)
def test_commands_options_and_values(complete, shell, words, expected):
    assert set(complete(shell, "weaksup", *words)) == expected


def test_runs_of_the_workspace(complete, tmp_path):
    for name in ("first", "fifth", "second"):
        (tmp_path / "mine" / "runs" / name).mkdir(parents=True)
    words = ["weaksup", "evaluate", "--workspace", "mine", "--run", "fi"]
    assert set(complete("bash", *words)) == {"first", "fifth"}
