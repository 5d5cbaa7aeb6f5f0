"""The file system of a workspace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from weaksup.cli.process import keeps_others_out
from weaksup.doctor.place import GIB, check_place


def test_a_good_place_is_left_as_it_was(tmp_path: Path) -> None:
    found = check_place(tmp_path / "not" / "yet", excludes=keeps_others_out)
    assert [finding.name for finding in found] == ["free disk space", "HDF5 files", "locks of runs"]
    assert all(finding.fine for finding in found)
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize / GIB
    assert float(found[0].found.split(" ")[0].replace(",", "")) == pytest.approx(free, rel=0.05)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_keeps_nobody_out_is_told(tmp_path: Path) -> None:
    locks = check_place(tmp_path, excludes=lambda folder: "it does not hold")[-1]
    assert (locks.state, locks.found, locks.needed) == ("broken", "it does not hold", True)
    assert "--workspace DIR" in locks.mend


@pytest.mark.skipif(not Path("/proc/1").is_dir(), reason="no /proc")
def test_a_place_that_cannot_be_written_is_told() -> None:
    # Not even root makes a folder there.
    found = check_place(Path("/proc/1"), excludes=keeps_others_out)
    assert (found[-1].name, found[-1].state) == ("workspace", "broken")
    assert "/proc/1 cannot be written" in found[-1].found
