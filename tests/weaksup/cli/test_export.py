"""``weaksup export`` as a user calls it, on the workspace of conftest.py."""

from __future__ import annotations

import json

import numpy as np
import pytest

from weaksup.cli import main


@pytest.fixture
def export(prepared, capsys):
    def call(*words):
        with pytest.raises(SystemExit) as end:
            main(["export", *map(str, words)])
        return end.value.code, *capsys.readouterr()

    return call


def test_with_the_workspaces_annotations(export, tmp_path, pictures):
    code, out, err = export("--out", tmp_path / "p", "--captions-per-image", 2)
    assert code == 0
    assert "annotations.json" in out
    assert f"--data_path {tmp_path} --data_name p --vocab_path {tmp_path / 'p'}" in out
    assert "1 image could not be read: left out" in err
    ids = (tmp_path / "p/train_ids.txt").read_text().split()
    assert ids == [pictures.name(n) for n in (0, 3, 5, 6, 9, 10, 12, 15)]
    assert np.load(tmp_path / "p/train_ims.npy").shape == (8, 2, 4)
    assert np.load(tmp_path / "p/test_ims.npy").shape == (4, 2, 4)
    assert len((tmp_path / "p/dev_caps.txt").read_text().splitlines()) == 8
    assert not list((tmp_path / "p").glob("*_lens.npy"))
    words = json.loads((tmp_path / "p/p_vocab.json").read_text())["word2idx"]
    assert {"dark", "sunny", "cat", "dog"} <= set(words)


def test_without_annotations_all_training_captions_are_written(export, tmp_path, prepared):
    (prepared / "annotations.json").unlink()
    code, out, _ = export("--out", tmp_path / "p", "--captions-per-image", 2, "--standardize")
    assert code == 0
    assert "all training captions" in out
    features = np.load(tmp_path / "p/train_ims.npy")
    assert features.shape == (16, 2, 4)
    assert np.allclose(features.mean((0, 1)), 0, atol=1e-6)
    assert np.allclose(features.std((0, 1)), 1, atol=1e-6)


def test_without_val_images_no_training_is_proposed(export, tmp_path):
    code, out, err = export("--out", tmp_path / "p", "--captions-per-image", 3)
    assert code == 0
    assert "dev: 4 images with fewer than 3 captions left out" in err
    assert "python train.py" not in out
    assert "the tools do not train without dev: lower --captions-per-image" in out


def test_errors_have_their_exit_codes(export, tmp_path, prepared):
    code, _, err = export()
    assert code == 2
    assert "--out" in err
    (tmp_path / "file").touch()
    code, _, err = export("--out", tmp_path / "file")
    assert code == 2
    assert "is a file" in err
    (prepared / "regions.h5").write_bytes(b"no store")
    code, _, err = export("--out", tmp_path / "p")
    assert code == 3
    assert "regions.h5" in err
    assert not (tmp_path / "p").exists()


def test_the_words_of_a_caption_are_those_of_the_penn_treebank():
    from weaksup.cli.export import _tokenize

    assert _tokenize("a man's dog runs. it, too, barks!") == [
        *("a", "man", "'s", "dog", "runs", ".", "it", ",", "too", ",", "barks", "!"),
    ]
