"""``weaksup extract`` as users run it: options, exit codes, and every way to be interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image as Pillow

from weaksup.cli import main
from weaksup.detectors.onnx import OnnxDetector
from weaksup.extract import extract
from weaksup.images import list_images
from weaksup.store import open_store
from weaksup.workspace import Workspace

MANY = 240


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder: exit code, stdout, stderr."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*words):
        with pytest.raises(SystemExit) as end:
            main(["extract", *map(str, words)])
        output = capsys.readouterr()
        return end.value.code, output.out, output.err

    return call


@pytest.fixture
def onnx(tiny_detector):
    return ("--detector", "onnx", "--weights", tiny_detector, "--batch-size", "4")


def contents(path):
    store = open_store(path)
    rows = [store.regions(at) for at in range(len(store))]
    return [
        (name, *(getattr(r, field).tobytes() for field in vars(r)))
        for name, r in zip(store.ids, rows, strict=True)
    ]


def test_it_writes_the_workspace_and_says_what_is_in_it(run, photos, onnx):
    code, out, err = run("--images", photos, *onnx)
    assert code == 0
    workspace = Workspace.open()
    assert workspace.images == (photos,)
    store = open_store(workspace.regions)
    assert len(store) == 11
    assert json.loads(workspace.concepts.read_text())["format"] == "weaksup.concepts"
    assert "images: 11" in out
    assert f"regions: {len(store.region_objects):,}" in out
    assert "objects: " in out
    assert "attributes: " in out
    assert "unreadable images: 1\n  broken.jpg: " in out
    assert "next: weaksup subsample --ratio 0.2" in out
    assert err == ""  # no bars when stderr is no terminal


def test_the_folders_are_remembered(run, photos, onnx):
    assert run("--images", photos / "inner", "--images", photos, *onnx)[0] == 0
    code, out, _ = run(*onnx)
    assert code == 0
    assert "16, 16 of them done before" in out


def test_captions_are_remembered(run, photos, onnx, tmp_path):
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption\n0.png,a dog\n")
    assert run("--images", photos, "--captions", captions, *onnx)[0] == 0
    assert Workspace.open().captions == captions


def test_a_feature_model_and_shards(run, photos, onnx, tiny_feature_model):
    code, out, _ = run(
        *("--images", photos, *onnx, "--shards", 2, "--out", "shards"),
        *("--feature-model", tiny_feature_model, "--feature-size", 64),
    )
    assert code == 0
    assert open_store("shards").feature_size == 5
    assert "shards" in out


def test_the_classes_of_a_feature_model(run, photos, onnx, tiny_classifier):
    path, labels = tiny_classifier
    code, out, _ = run(
        *("--images", photos, *onnx, "--feature-model", path, "--feature-size", 64),
        *("--feature-labels", labels),
    )
    assert code == 0
    store = open_store(Workspace.open().regions)
    assert store.classes == ("golden retriever", "tabby", "boat")
    first = store.region_classes[store.offsets[:-1][store.status != 1], 0]
    name, count = max(
        ((store.classes[row], int((first == row).sum())) for row in set(first.tolist())),
        key=lambda entry: entry[1],
    )
    assert f"\nclasses: {name} {count}" in out


def test_a_store_made_otherwise_is_in_the_way(run, photos, onnx):
    assert run("--images", photos, *onnx)[0] == 0
    code, _, err = run(*onnx, "--score-threshold", 0.3)
    assert code == 2
    assert "score_threshold" in err
    assert "--overwrite" in err
    assert run(*onnx, "--score-threshold", 0.3, "--overwrite")[0] == 0


def test_more_unreadable_images_than_fit(run, onnx, tmp_path):
    for number in range(25):
        (tmp_path / f"{number:02}.jpg").write_bytes(b"")
    code, out, _ = run("--images", tmp_path, *onnx)
    assert code == 0
    assert "unreadable images: 25" in out
    assert "19.jpg: the file is empty" in out
    assert "20.jpg" not in out
    assert "and 5 more" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--images", "nowhere"], 2, "nowhere"),
        ([], 2, "--images DIR"),
        (["--images", "EMPTY"], 3, "no image"),
        (["--images", "PHOTOS", "--detector", "onnx"], 2, "--weights"),
        (["--images", "PHOTOS", "--detector", "onnx", "--weights", "no.onnx"], 2, "no.onnx"),
        (["--images", "PHOTOS", "--detector", "yolo"], 2, "yolo"),
        (["--images", "PHOTOS", "--detectr", "onnx"], 2, "--detectr"),
        (["--images", "PHOTOS", "--shards", "2"], 2, "--out"),
        (["--images", "PHOTOS", "--min-regions", "9", "--max-regions", "5"], 2, "--min-regions"),
        (["--images", "PHOTOS", "ONNX", "--feature-model", "resnet51"], 2, "resnet50"),
        (["--images", "PHOTOS", "ONNX", "--feature-size", "4"], 2, "--feature-size"),
        (["--images", "PHOTOS", "ONNX", "--feature-labels", "EMPTY_FILE"], 2, "--feature-model"),
        (
            [
                "--images",
                "PHOTOS",
                "ONNX",
                "--feature-model",
                "resnet50",
                "--feature-labels",
                "DOG",
            ],
            2,
            "for feature models in ONNX files",
        ),
        (["--images", "PHOTOS", "ONNX", "--concepts", "EMPTY_FILE"], 3, "empty"),
        (["--images", "PHOTOS", "ONNX", "--labels", "EMPTY_FILE"], 3, "empty"),
        (["--images", "PHOTOS", "--detector", "onnx", "--weights", "EMPTY_FILE"], 3, "not an ONNX"),
    ],
)
def test_what_goes_wrong_has_its_exit_code(run, photos, onnx, tmp_path, words, code, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "dog.txt").write_text("dog\n")
    places = {
        "PHOTOS": [photos],
        "EMPTY": [tmp_path / "empty"],
        "EMPTY_FILE": [tmp_path / "empty.txt"],
        "DOG": [tmp_path / "dog.txt"],
        "ONNX": list(onnx),
    }
    got, _, err = run(*(item for word in words for item in places.get(word, [word])))
    assert got == code
    assert message in err
    assert "Traceback" not in err
    assert not Workspace.open().regions.exists()


def test_a_mistyped_model_changes_nothing_in_the_workspace(run, photos):
    assert run("--images", photos, "--detector", "onnx", "--weights", "no.onnx")[0] == 2
    assert not Workspace.open().folder.exists()


def test_missing_weights_name_their_url(run, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    code, _, err = run("--images", photos, "--detector", "torchvision")
    assert code == 4
    assert "https://download.pytorch.org/models/fasterrcnn" in err
    assert str(tmp_path / "cache") in err


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Pictures that take some seconds together."""
    folder = tmp_path_factory.mktemp("many")
    generator = np.random.default_rng(3)
    small = Pillow.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for number in range(MANY):
        small.rotate(number).resize((900, 900), Pillow.Resampling.BICUBIC).save(
            folder / f"{number:03}.jpg"
        )
    return folder


@pytest.fixture(scope="module")
def whole(many, tiny_detector):
    """The store of a run that nothing interrupted."""
    out = many.with_name("whole") / "regions.h5"
    out.parent.mkdir()
    detector = OnnxDetector(tiny_detector)
    extract(
        list_images([many]),
        detector=detector,
        out=out,
        concepts=out.with_name("concepts.json"),
        batch_size=4,
    )
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_an_interrupted_run_gives_the_bytes_of_an_uninterrupted_one(
    run, many, whole, onnx, number, code
):
    words = ["--images", many, *onnx, "--workers", 2]
    program = [sys.executable, "-m", "weaksup.cli", "extract", *map(str, words)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    store = Workspace.open().regions
    journal = store.with_name("regions.h5.partial") / "journal.jsonl"
    limit = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < limit:
        if journal.exists() and journal.read_bytes().count(b"\n") >= 3:
            process.send_signal(number)
            break
        time.sleep(0.002)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert not store.exists()
    committed = journal.read_bytes().count(b"\n")
    assert 3 <= committed < MANY / 4
    if code == 130:
        assert "run the same command again" in err
        assert "Traceback" not in err

    code, out, _ = run(*words)
    assert code == 0
    assert f"{committed * 4} of them done before" in out
    assert contents(store) == contents(whole)
    assert not journal.parent.exists()
