"""What commands ask of the operating system: to be stopped gently, and to be alone in a folder."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from weaksup.errors import DataError, UsageError

if sys.platform != "win32":
    import fcntl

LOCK = "lock"
_OTHER = """
import json, sys
from pathlib import Path
sys.path[:] = json.loads(sys.argv[1])
from weaksup.cli.process import alone_in
from weaksup.errors import UsageError
try:
    with alone_in(Path(sys.argv[2]), doing="checking"):
        print("in")
except UsageError:
    print("out")
"""
# Others may remove the file, or its empty folder, while we lock it; not so often.
_ATTEMPTS = 20


@contextmanager
def terminated_is_interrupted() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C: what is committed is kept, and the exit code is 130.

    Outside the main thread, where Python delivers no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def alone_in(folder: Path, *, doing: str, hint: str = "choose another --name") -> Iterator[None]:
    """Keep other processes that ask the same out of ``folder`` within the block.

    The folder is made if missing, and removed at the end if nothing was written into it. A process
    that is killed leaves the file ``lock`` there, which keeps nobody out.

    Args:
        folder: to be written by this process alone.
        doing: what the other process is said to be doing.
        hint: what the user can do other than wait.

    Raises:
        UsageError: if another process is in it.
        DataError: if the folder cannot be written.
    """
    path = folder / LOCK
    file = _lock(path, doing=doing, hint=hint)
    try:
        yield
    finally:
        # Before it is released: later, it might be another's.
        path.unlink(missing_ok=True)
        file.close()
        with suppress(OSError):  # it is not empty
            folder.rmdir()
            folder.parent.rmdir()


def keeps_others_out(folder: Path) -> str:
    """Try whether :func:`alone_in` works in ``folder``, with another process.

    Returns:
        An empty string, or what is wrong.
    """
    try:
        with alone_in(folder, doing="checking"):
            ended = subprocess.run(
                [sys.executable, "-c", _OTHER, json.dumps(sys.path), str(folder)],
                capture_output=True,
                text=True,
                check=False,
            )
    except (DataError, OSError) as error:
        return str(error).replace("\n", "; ")
    if ended.stdout.strip() == "out":
        return ""
    if ended.stdout.strip() == "in":
        return "a lock keeps no other process out"
    return (ended.stderr.strip().splitlines() or [f"code {ended.returncode}"])[-1]


def _lock(path: Path, *, doing: str, hint: str) -> io.FileIO:
    for _ in range(_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = io.FileIO(path, "w")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(
                f"{path.parent} cannot be written: {error.strerror}",
                "make room, or mend the permissions",
            ) from error
        if sys.platform == "win32":
            return file
        # Not flock: worker processes would inherit that, and one that outlives its killed parent
        # would keep everybody out.
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.close()
            break
        # A lock on a file that is no longer there keeps nobody out.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()
    raise UsageError(
        f"another process is {doing} {path.parent}",
        f"wait until it has ended, or {hint}",
    )
