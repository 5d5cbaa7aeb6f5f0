"""What a workspace remembers, and what becomes of that where its folder is moved or copied."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from weaksup.errors import DataError
from weaksup.workspace import Workspace

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "one" / "workspace").remember(
        images=[tmp_path / "photos", tmp_path / "one/workspace/more"],
        captions=tmp_path / "one/workspace/captions.csv",
        regions=tmp_path / "one/workspace/other/regions.h5",
        models=[tmp_path / "detector.onnx", tmp_path / "one/workspace/names.txt"],
    )


def test_what_is_remembered_is_found_again(workspace: Workspace, tmp_path: Path) -> None:
    assert Workspace.open(workspace.folder) == workspace
    assert workspace.images == (tmp_path / "photos", workspace.folder / "more")
    assert workspace.regions == workspace.folder / "other/regions.h5"


def test_what_lies_outside_is_remembered_by_its_absolute_path(
    workspace: Workspace, tmp_path: Path
) -> None:
    assert tomllib.loads((workspace.folder / "workspace.toml").read_text()) == {
        "images": [str(tmp_path / "photos"), "more"],
        "captions": "captions.csv",
        "regions": "other/regions.h5",
        "models": [str(tmp_path / "detector.onnx"), "names.txt"],
    }


def test_a_copy_knows_its_own_files(workspace: Workspace, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(workspace.folder, tmp_path / "two" / "copied"))
    copy = Workspace.open(folder)
    assert copy.images == (tmp_path / "photos", folder / "more")
    assert copy.captions == folder / "captions.csv"
    assert copy.regions == folder / "other/regions.h5"
    assert copy.models == (tmp_path / "detector.onnx", folder / "names.txt")


def test_a_folder_that_is_named_from_where_one_is(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.folder)
    assert Workspace.open(".").captions == workspace.captions
    assert Workspace.open(".").remember(images=[Path("more")]).images == workspace.images[1:]


def test_its_own_store_needs_no_remembering(workspace: Workspace) -> None:
    workspace = workspace.remember(regions=workspace.own_regions)
    assert workspace.store is None
    assert "regions" not in tomllib.loads((workspace.folder / "workspace.toml").read_text())


def test_a_damaged_memory_is_named(workspace: Workspace) -> None:
    memory = workspace.folder / "workspace.toml"
    memory.write_text("images = 3\n")
    with pytest.raises(DataError, match=r"workspace\.toml cannot be read: .*\n.*mend or delete it"):
        Workspace.open(workspace.folder)
