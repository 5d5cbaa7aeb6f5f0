"""Locks of folders and signals, as commands use them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from weaksup.cli.process import alone_in, terminated_is_interrupted
from weaksup.errors import DataError, UsageError

OTHER = """
import sys
from pathlib import Path
from weaksup.cli.process import alone_in
with alone_in(Path(sys.argv[1]), doing="filling"):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_kept_out_while_it_lasts(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    message = f"another process is filling {folder}"
    with pytest.raises(UsageError, match=message), alone_in(folder, doing="filling"):
        pass
    other.kill()
    other.communicate()
    # What a killed one leaves keeps nobody out.
    assert (folder / "lock").exists()
    with alone_in(folder, doing="filling"):
        (folder / "file").write_text("")
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_folder_that_stayed_empty_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path / "a" / "b", doing="filling"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "folder"
    with pytest.raises(DataError, match="cannot be written"), alone_in(folder, doing="filling"):
        pass


def test_sigterm_is_ctrl_c_within_the_block_only() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated_is_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
