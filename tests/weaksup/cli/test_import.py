"""``weaksup import`` as a user calls it, and the commands after it."""

from __future__ import annotations

import numpy as np
import pytest

from weaksup.cli import main
from weaksup.concepts import read_concepts
from weaksup.store import open_store
from weaksup.workspace import Workspace


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEAKSUP_WORKSPACE", raising=False)

    def call(*words):
        with pytest.raises(SystemExit) as end:
            main([*map(str, words)])
        return end.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def precomp(tmp_path):
    """24 images of two classes, whose captions say which, in a folder as SCAN has it."""
    folder = tmp_path / "mine_precomp"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", 16), ("dev", 4), ("test", 4)):
        classes = np.arange(count) % 2
        features = generator.random((count, 3, 4), dtype=np.float32) / 10 + classes[:, None, None]
        captions = [f"a {('cat', 'dog')[k]} number {n}" for k in classes for n in range(5)]
        np.save(folder / f"{split}_ims.npy", features)
        (folder / f"{split}_caps.txt").write_text("\n".join(captions) + "\n")
        (folder / f"{split}_ids.txt").write_text("".join(f"{split}{n}\n" for n in range(count)))
    return folder


def test_the_commands_after_it_run_bare(run, precomp):
    code, out, _ = run("import", precomp)
    assert code == 0
    assert "24 images, features of width 4, from precomp" in out
    assert "next: weaksup subsample --ratio 0.2" in out
    workspace = Workspace.open()
    assert workspace.captions == workspace.regions.with_name("regions-captions.json").resolve()
    assert len(open_store(workspace.regions)) == 24
    assert read_concepts(workspace.concepts).concepts == ()
    for command in (
        ["subsample", "--ratio", "0.5"],
        ["train", "--model", "cca"],
        ["train", "--model", "a3vse", "--epochs", "1"],
        ["evaluate", "--split", "val"],
    ):
        code, _, err = run(*command)
        assert code == 0, err
        # Features bring no names.
        nothing = "regions.h5 have no names: loss.w_weak has nothing to learn from, and training "
        assert err.count(nothing) == ("a3vse" in command)
        nothing = "regions.h5 have no names: fusion.objects has nothing to count"
        assert err.count(nothing) == ("a3vse" in command)
    # What the kept captions say is all that the vocabulary has.
    words = {concept.name for concept in read_concepts(workspace.concepts).concepts}
    assert {"cat", "dog"} <= words
    assert run("import", precomp)[0] == 0  # finished already: nothing is lost by it
    assert {concept.name for concept in read_concepts(workspace.concepts).concepts} == words


def test_missing_images_are_listed(run, precomp, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("train0.jpg", "train1.png", "other.jpg"):
        (folder / name).write_bytes(b"x")
    code, out, _ = run("import", precomp, "--images", folder, "--out", "s/regions.h5")
    assert code == 0
    assert "22 images with features and no file in the folders" in out
    assert "1 image without features, not in the store" in out
    listed = (tmp_path / "s/missing-images.txt").read_text().splitlines()
    assert len(listed) == 22
    assert "  train2.jpg\n" in out
    assert listed[-1] == "test3.jpg"
    assert open_store("s/regions.h5").ids[:2] == ["train0.jpg", "train1.png"]
    workspace = Workspace.open()
    assert workspace.images == (folder.resolve(),)
    assert workspace.regions == (tmp_path / "s/regions.h5").resolve()


def test_another_stores_vocabulary_stays(run, precomp, prepared):
    from weaksup.concepts import build_vocabulary, write_concepts_of

    concepts = prepared / "concepts.json"
    write_concepts_of(concepts, build_vocabulary(("cat",), ()), store=prepared / "regions.h5")
    before = concepts.read_bytes()
    imported = prepared / "imported.h5"
    code, _, err = run("import", precomp, "--workspace", prepared, "--out", imported)
    assert code == 2
    assert "concepts.json holds the words of another store" in err
    assert concepts.read_bytes() == before
    assert not imported.exists()
    words = ("--workspace", prepared, "--out", imported, "--overwrite")
    assert run("import", precomp, *words)[0] == 0
    assert len(open_store(imported)) == 24
    assert read_concepts(concepts).concepts == ()
    assert read_concepts(concepts).store == "imported.h5"
    # As if another extraction had ended meanwhile: what is imported already gets its own words.
    concepts.write_bytes(before)
    code, _, err = run("import", precomp, "--workspace", prepared, "--out", imported)
    assert code == 0
    assert "those of imported.h5 are in imported.h5.concepts.json" in err
    assert concepts.read_bytes() == before
    assert read_concepts(Workspace.open(prepared).concepts).store == "imported.h5"


def test_errors_have_their_exit_codes(run, precomp, tmp_path):
    code, _, err = run("import", tmp_path / "nothing")
    assert code == 2
    assert "nothing" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run("import", tmp_path / "empty")
    assert code == 3
    assert "no region features in a known format" in err
    (precomp / "dev_ims.npy").write_bytes(b"")
    code, _, err = run("import", precomp)
    assert code == 3
    assert "dev_ims.npy" in err
    assert "Traceback" not in err
    assert not (tmp_path / "weaksup-workspace").exists()
