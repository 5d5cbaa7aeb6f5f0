"""The workspace's file system: room, and locks that hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from weaksup.doctor.finding import Finding, State

GIB = 1 << 30
LEAST_ROOM = 1 * GIB
# 36 regions an image, 1,024 features a region, two bytes a feature, and the rest of a row.
IMAGE_BYTES = 36 * (1024 * 2 + 44)

_ROOM, _HDF5, _RUNS = "free disk space", "HDF5 files", "locks of runs"
_ELSEWHERE = "weaksup doctor --workspace DIR"

# The end of a process releases what it holds: this one only opens and closes.
_HDF5_CHILD = """
import sys
import h5py
with h5py.File(sys.argv[1], "w") as file:
    file["values"] = [1, 2, 3]
with h5py.File(sys.argv[1], "r") as file:
    assert file["values"][:].tolist() == [1, 2, 3]
"""


def check_place(folder: Path, *, excludes: Callable[[Path], str]) -> list[Finding]:
    """Room, HDF5 and locks where a workspace is or will be. Nothing stays there.

    Args:
        folder: of the workspace; may not exist yet.
        excludes: given an empty folder, whether the lock of a run in it keeps another process
            out: an empty string, or what is wrong.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    findings = [_room(existing)]
    try:
        with _scratch(existing) as scratch:
            findings += [_hdf5(scratch), _locks(scratch, excludes)]
    except OSError as error:
        findings.append(
            Finding(
                "workspace",
                True,
                "everything that is written",
                "broken",
                f"{existing} cannot be written: {error.strerror}",
                f"mend the permissions of {existing}, or try another place: {_ELSEWHERE}",
            )
        )
    return findings


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".weaksup-doctor-", dir=folder) as scratch:
        yield Path(scratch)


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:,.1f} GiB, a store of about {free // IMAGE_BYTES:,} images"
    state: State = "ok" if free >= LEAST_ROOM else "missing"
    mend = "" if state == "ok" else f"make room in {folder}, or try another place: {_ELSEWHERE}"
    return Finding(_ROOM, True, "stores and runs", state, found, mend)


def _hdf5(scratch: Path) -> Finding:
    command = [sys.executable, "-c", _HDF5_CHILD, str(scratch / "probe.h5")]
    ended = subprocess.run(command, capture_output=True, check=False, text=True, errors="replace")
    if not ended.returncode:
        return Finding(_HDF5, True, "region stores", "ok", "written, locked and read")
    last = (ended.stderr.strip().splitlines() or [f"code {ended.returncode}"])[-1][:200]
    # Without h5py its own finding says what to do.
    mend = "export HDF5_USE_FILE_LOCKING=FALSE" if "lock" in last else ""
    return Finding(_HDF5, True, "region stores", "broken", last, mend)


def _locks(scratch: Path, excludes: Callable[[Path], str]) -> Finding:
    purpose = "one process at a time in a run or an extraction"
    wrong = excludes(scratch / "run")
    if not wrong:
        return Finding(_RUNS, True, purpose, "ok", "a second process is kept out")
    return Finding(_RUNS, True, purpose, "broken", wrong, f"use a local disk: {_ELSEWHERE}")
