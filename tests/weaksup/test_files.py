"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest

from weaksup.errors import DataError, UsageError
from weaksup.files import require_file, sha256, write_atomically


def test_sha256_of_more_than_one_block(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_what_an_option_names_is_a_file(tmp_path):
    (tmp_path / "there").write_text("")
    os.mkfifo(tmp_path / "pipe")
    require_file(tmp_path / "there", "list")
    for path, message in (
        (tmp_path, f"the list {tmp_path} is a folder"),
        (tmp_path / "gone", f"the list {tmp_path / 'gone'} does not exist"),
        (tmp_path / "pipe", f"the list {tmp_path / 'pipe'} is a device or a pipe"),
    ):
        with pytest.raises(UsageError) as caught:
            require_file(path, "list", "name another")
        assert (caught.value.message, caught.value.hint) == (message, "name another")


def test_it_makes_the_folder_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, "naïve\r\n")
    write_atomically(path, "naïveté\r\n")
    assert path.read_bytes() == "naïveté\r\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"file\.txt cannot be written: No space left") as caught:
        write_atomically(path, "new", hint="elsewhere")
    assert caught.value.hint == "elsewhere"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "inside.txt", "x")


def test_what_a_link_leads_to_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "elsewhere" / "real.txt")
    write_atomically(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "real.txt").read_text() == "new"


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file.txt", "new")
    assert list(tmp_path.iterdir()) == []
