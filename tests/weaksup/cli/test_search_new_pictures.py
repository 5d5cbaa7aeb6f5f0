"""Search for a picture that no store has, with detectors of the user's own."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from pipelines.scenes import write_scenes
from weaksup.cli import main

MODEL = "fasterrcnn_mobilenet_v3_large_320_fpn"
LABELS = ("background", "ball", "star", "tree")
CONCEPTS = ("ball\tglobe", "star", "red", "blue", "small", "large")


@pytest.fixture
def weaksup(tmp_path, monkeypatch, capsys):
    """The command, in a folder with ``scenes`` and, in ``models``, a detector with its names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WEAKSUP_WORKSPACE", raising=False)
    write_scenes(tmp_path / "scenes", count=12, seed=3)
    models = tmp_path / "models"
    models.mkdir()
    torch.manual_seed(0)
    model = get_model(MODEL, weights=None, weights_backbone=None, num_classes=len(LABELS))
    save_file(model.state_dict(), models / "mine-320.safetensors")
    (models / "names.txt").write_text("\n".join(LABELS))
    (models / "things.txt").write_text("\n".join(CONCEPTS))
    # Not every text in the folder is a list of concepts.
    (models / "notes.txt").write_text("ball\tround\nround\tball\n")

    def call(*words):
        with pytest.raises(SystemExit) as end:
            main([*map(str, words)])
        return end.value.code, *capsys.readouterr()

    return call


def test_weights_with_names_and_concepts_of_ones_own(weaksup, tmp_path):
    own = ("--weights", "models/mine-320.safetensors", "--labels", "models/names.txt")
    sizes = ("--min-regions", 4, "--max-regions", 6, "--batch-size", 1, "--device", "cpu")
    images = ("--images", "scenes/images", "--concepts", "models/things.txt")
    code, _, err = weaksup("extract", *images, "--detector", "torchvision", *own, *sizes)
    assert code == 0, err
    assert weaksup("subsample", "--ratio", 0.5)[0] == 0
    assert weaksup("train", "--model", "cca", "--set", "min_count=1")[0] == 0
    assert weaksup("index")[0] == 0
    known = sorted((tmp_path / "scenes").rglob("*.jpg"))[5]
    shutil.copy(known, "new.jpg")
    search = ("search", "--image", "new.jpg", "--top", 1, "--format", "json")

    def check(*options):
        code, out, err = weaksup(*search, *options)
        assert code == 0, err
        (hit,) = json.loads(out)["results"]
        assert hit["image"] == known.relative_to(tmp_path / "scenes/images").as_posix()
        assert hit["score"] == pytest.approx(1, abs=1e-3)

    check()
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    code, out, err = weaksup(*search)
    assert (code, out) == (4, "")
    assert "without the weights of the detector torchvision:mine-320 (SHA-256 " in err
    assert "--models" in err
    (tmp_path / "elsewhere/mine-320.safetensors").rename(
        tmp_path / "elsewhere/other-320.safetensors"
    )
    check("--models", "elsewhere")
    (tmp_path / "elsewhere/things.txt").unlink()
    code, _, err = weaksup(*search, "--models", "elsewhere")
    assert code == 3
    assert "a list of concepts that was not found" in err
