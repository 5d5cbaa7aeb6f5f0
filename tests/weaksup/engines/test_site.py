"""What machines of a cluster must have in common."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weaksup.engines.site import described
from weaksup.errors import DataError, UsageError


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{number}.jpg" for number in range(20)]
    for path in paths:
        path.write_text("picture")
    return paths


def test_a_machine_that_sees_everything_is_good(files, tmp_path):
    with described(files, [files[0]], folder=tmp_path / "new" / "store") as site:
        site.check()
        assert 4 < len(site.files) < 16
    assert not (tmp_path / "new" / "store").exists()


def test_a_machine_that_does_not_share_the_output_folder_is_named(files, tmp_path):
    with described(files, [], folder=tmp_path / "store") as site:
        pass
    with pytest.raises(DataError, match="does not see") as caught:
        site.check()
    assert str(tmp_path / "store" / ".weaksup-") in caught.value.message


def test_another_file_under_the_same_path(files, tmp_path):
    with described(files, [], folder=tmp_path) as site:
        files[0].write_text("another picture")
        with pytest.raises(DataError, match="another content"):
            site.check()
    assert tmp_path.is_dir()


def test_a_model_that_is_a_folder(files, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("weights")
    with described([], [folder], folder=tmp_path) as site:
        site.check()
        (folder / "weights").write_text("other weights")
        with pytest.raises(DataError, match=f"another content for {folder / 'weights'}"):
            site.check()


def test_another_version(files, tmp_path):
    with described(files, [], folder=tmp_path) as site:
        site = replace(site, version="0.0.1")
    with pytest.raises(UsageError, match=r"not 0\.0\.1"):
        site.check()


def test_a_folder_that_cannot_be_made(files):
    with pytest.raises(DataError, match="cannot be written"), described([], [], folder=files[0]):
        pass
