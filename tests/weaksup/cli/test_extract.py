"""``weaksup extract`` as users run it: options, exit codes, and every way to be interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from weaksup.cli import main
from weaksup.concepts import WORDNET_NOTICE
from weaksup.detectors.onnx import OnnxDetector
from weaksup.extract import extract
from weaksup.images import list_images
from weaksup.store import open_store
from weaksup.workspace import Workspace

MANY = 240


@pytest.fixture
def onnx(tiny_detector):
    return ("--detector", "onnx", "--weights", tiny_detector, "--batch-size", "4")


class SomeWordNet:
    """Is there, and knows no word."""

    version = "WordNet 0"

    def meaning(self, name, kind):
        return None


def contents(path):
    store = open_store(path)
    rows = [store.regions(at) for at in range(len(store))]
    return [
        (name, *(getattr(r, field).tobytes() for field in vars(r)))
        for name, r in zip(store.ids, rows, strict=True)
    ]


def test_it_writes_the_workspace_and_says_what_is_in_it(run_extract, photos, onnx, monkeypatch):
    # Whether WordNet is on this machine is not the subject: see below.
    monkeypatch.setattr("weaksup.concepts.vocabulary.find_wordnet", SomeWordNet)
    code, out, err = run_extract("--images", photos, *onnx)
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
    assert workspace.unreadable.read_text().startswith("broken.jpg\t")
    assert "next: weaksup subsample --ratio 0.2" in out
    assert err == ""  # no bars when stderr is no terminal


def test_the_folders_are_remembered(run_extract, photos, onnx):
    assert run_extract("--images", photos / "inner", "--images", photos, *onnx)[0] == 0
    code, out, _ = run_extract(*onnx)
    assert code == 0
    assert "16, 16 of them done before" in out


def test_captions_are_remembered(run_extract, photos, onnx, tmp_path):
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption\n0.png,a dog\n")
    assert run_extract("--images", photos, "--captions", captions, *onnx)[0] == 0
    assert Workspace.open().captions == captions


def test_what_is_no_captions_file_is_not_remembered(run_extract, photos, onnx, tmp_path):
    noise = tmp_path / "noise.txt"
    noise.write_text("nothing of that kind")
    code, _, err = run_extract("--images", photos, "--captions", noise, *onnx)
    assert code == 3
    assert "is in no known captions format" in err
    assert not Workspace.open().folder.exists()


def test_without_wordnet_it_says_so(run_extract, photos, onnx, tmp_path, monkeypatch):
    monkeypatch.setenv("WEAKSUP_WORDNET", str(tmp_path / "none"))
    code, out, err = run_extract("--images", photos, *onnx)
    assert code == 0
    assert err == f"{WORDNET_NOTICE}\n"
    assert "WordNet" not in out


def test_what_a_concept_list_asks_for_in_vain_is_named(run_extract, photos, onnx, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("dragon\nperson\n" + "".join(f"word{number}\n" for number in range(6)))
    code, _, err = run_extract("--images", photos, *onnx, "--concepts", words)
    assert code == 0
    assert "7 of 8 concepts of the list: no label of the detector" in err
    assert "dragon, word0, word1, word2, word3 and 2 more" in err
    assert "no region will have a name" not in err
    words.write_text("dragon\n")
    code, out, err = run_extract(*onnx, "--concepts", words, "--overwrite")
    assert code == 0
    assert "captions can name them: dragon\n" in err
    assert "no region will have a name" in err
    assert "objects: none" in out
    words.write_text("dogs\ntraffic light\nred\n")
    assert "of the list" not in run_extract(*onnx, "--concepts", words, "--overwrite")[2]


def test_brackets_in_names_are_no_markup(run_extract, photos, onnx, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("dog [red]\ncat [/]\nfox [b]\n")
    description = onnx[3].with_suffix(".toml").read_text()
    copy = tmp_path / "tiny.onnx"
    copy.write_bytes(onnx[3].read_bytes())
    labels_line = next(line for line in description.splitlines() if line.startswith("labels"))
    copy.with_suffix(".toml").write_text(description.replace(labels_line, ""))
    code, out, err = run_extract(
        *("--images", photos, "--detector", "onnx", "--weights", copy, "--labels", labels),
        *("--score-threshold", 0),
    )
    assert code == 0, err
    assert "[red]" in out or "[/]" in out or "[b]" in out


def test_another_detector_is_refused_before_it_asks_for_weights(run_extract, photos, onnx):
    assert run_extract("--images", photos, *onnx)[0] == 0
    before = Workspace.open().regions.read_bytes()
    for words in (
        ("--detector", "onnx", "--weights", "nowhere.onnx"),
        ("--detector", "transformers"),
        ("--detector", "demo"),
        (),
    ):
        code, out, err = run_extract(*words)
        assert (code, out) == (2, "")
        if "onnx" not in words:
            assert "holds regions of the detector onnx:tiny, not of" in err
            assert "--overwrite" in err
    assert Workspace.open().regions.read_bytes() == before
    code, _, err = run_extract("--detector", "transformers", "--overwrite")
    assert code == 4
    assert "holds regions" not in err


def test_two_stores_do_not_share_their_concepts(run_extract, photos, onnx):
    code, out, _ = run_extract("--images", photos, *onnx, "--out", "a.h5")
    assert code == 0
    assert f"written: a.h5 and concepts.json in {Path.cwd()}\n" in out
    words = Path("concepts.json").read_bytes()
    other = ("--images", photos / "inner", *onnx, "--out")
    code, out, err = run_extract(*other, "b.h5")
    assert (code, out) == (2, "")
    assert "concepts.json holds the words of another store, a.h5" in err
    assert "--out b/b.h5" in err
    assert not list(Path().glob("b.h5*"))
    assert Path("concepts.json").read_bytes() == words
    code, out, _ = run_extract(*other, "b/b.h5")
    assert code == 0
    assert "written: b/b.h5 and b/concepts.json\n" in out
    assert json.loads(Path("b/concepts.json").read_text())["store"] == "b.h5"
    assert Workspace.open().concepts == Path("b/concepts.json").resolve()
    # The first is finished: its words are its own, still.
    assert run_extract("--images", photos, *onnx, "--out", "a.h5")[0] == 0
    assert Path("concepts.json").read_bytes() == words
    assert run_extract(*other, "b.h5", "--overwrite")[0] == 0
    assert json.loads(Path("concepts.json").read_text())["store"] == "b.h5"
    # It has just lost them to the other, and gets some of its own, which the commands then find.
    taken = Path("concepts.json").read_bytes()
    code, out, _ = run_extract("--images", photos, *onnx, "--out", "a.h5")
    assert code == 0
    assert "note: concepts.json holds the words of another store, b.h5" in out
    assert "written: a.h5 and a.h5.concepts.json" in out
    assert Path("concepts.json").read_bytes() == taken
    assert Workspace.open().concepts == Path("a.h5.concepts.json").resolve()
    assert json.loads(Workspace.open().concepts.read_text())["store"] == "a.h5"
    # From now on without a word about it.
    code, out, _ = run_extract("--images", photos, *onnx, "--out", "a.h5")
    assert code == 0
    assert "another store" not in out
    assert "written: a.h5 and a.h5.concepts.json" in out


def test_a_store_elsewhere_is_found_by_the_commands_that_follow(run_extract, photos, onnx, capsys):
    assert (
        run_extract("--images", photos, *onnx, "--shards", 2, "--out", "elsewhere/shards")[0] == 0
    )
    workspace = Workspace.open()
    assert workspace.regions == Path("elsewhere/shards").resolve()
    assert workspace.concepts == Path("elsewhere/concepts.json").resolve()
    rows = [f"{i}.png,a dog,train" for i in range(0, 10, 2)]
    Path("captions.csv").write_text("\n".join(["image,caption,split", *rows]))
    for words in (["subsample", "--captions", "captions.csv"], ["concepts", "--top", "1"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
    assert "there is no region store" not in capsys.readouterr().out
    kept = json.loads(workspace.annotations.read_text())
    assert len(kept["annotated"]) + len(kept["unannotated"]) == 10
    # The latest extraction counts.
    assert run_extract(*onnx)[0] == 0
    assert Workspace.open().regions == workspace.own_regions
    assert run_extract(*onnx, "--overwrite", "--shards", 3, "--out", "elsewhere/shards")[0] == 0
    assert Workspace.open().regions == workspace.regions


def test_another_number_of_shards_is_in_the_way(run_extract, photos, onnx):
    shards = ("--out", "shards", "--shards")
    assert run_extract("--images", photos, *onnx, *shards, 2)[0] == 0
    before = {path: path.read_bytes() for path in Path("shards").iterdir()}
    code, _, err = run_extract(*onnx, *shards, 3)
    assert code == 2
    assert "holds shards of a store in 2 files, not 3" in err
    assert "--overwrite" in err
    assert {path: path.read_bytes() for path in Path("shards").iterdir()} == before
    assert run_extract(*onnx, *shards, 3, "--overwrite")[0] == 0
    assert len(list(Path("shards").iterdir())) == 3
    assert len(open_store("shards")) == 11


def test_tasks_of_a_job_array_write_a_shard_each(run_extract, photos, onnx, tmp_path):
    shards = ("--images", photos, *onnx, "--shards", 3, "--out", "shards")
    for number, images in ((2, 3), (0, 4)):
        code, out, _ = run_extract(*shards, "--shard", number)
        assert code == 0
        assert f"regions-0000{number}-of-00003.h5, {images} images" in out
        assert "next: the same command without --shard" in out
    assert not Path("concepts.json").exists()
    first = Path("shards", "regions-00000-of-00003.h5")
    before = first.stat().st_mtime_ns
    # A task has failed: what it left undone is done by the command that ends it.
    code, out, _ = run_extract(*shards)
    assert code == 0
    assert "images: 11, 7 of them done before" in out
    assert first.stat().st_mtime_ns == before
    assert Workspace.open().regions == Path("shards").absolute()
    assert run_extract(*onnx, "--out", "one/regions.h5")[0] == 0
    assert contents("shards") == contents("one/regions.h5")


@pytest.mark.slow
def test_several_processes(run_extract, photos, onnx):
    code, out, err = run_extract(
        *("--images", photos, *onnx, "--shards", 2, "--processes", 2, "--out", "shards")
    )
    assert code == 0, err
    assert "note:" not in err
    assert "next: weaksup subsample" in out
    assert run_extract(*onnx, "--out", "one/regions.h5")[0] == 0
    assert contents("shards") == contents("one/regions.h5")


def _is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_ctrl_c_ends_all_processes(run_extract, many, whole, onnx):
    words = ["--images", many, *onnx, "--shards", 4, "--processes", 2, "--out", "shards"]
    program = [sys.executable, "-m", "weaksup.cli", "extract", *map(str, words)]
    process = subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < limit:
        journals = Path("shards").glob("*.partial/journal.jsonl")
        if any(journal.read_bytes().count(b"\n") >= 3 for journal in journals):
            # As a terminal does it: to all processes of the group.
            os.killpg(process.pid, signal.SIGINT)
            break
        time.sleep(0.002)
    else:
        os.killpg(process.pid, signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert "Traceback" not in err
    # Python's own helper of several processes ends a moment after the command.
    while _is_there(process.pid) and time.monotonic() < limit + 60:
        time.sleep(0.05)
    assert not _is_there(process.pid)

    code, out, _ = run_extract(*words)
    assert code == 0
    assert "of them done before" in out
    assert contents("shards") == contents(whole)


def test_a_feature_model_and_shards(run_extract, photos, onnx, tiny_feature_model):
    code, out, _ = run_extract(
        *("--images", photos, *onnx, "--shards", 2, "--out", "shards"),
        *("--feature-model", tiny_feature_model, "--feature-size", 64),
    )
    assert code == 0
    assert open_store("shards").feature_size == 5
    assert "shards" in out


def test_the_classes_of_a_feature_model(run_extract, photos, onnx, tiny_classifier):
    path, labels = tiny_classifier
    code, out, _ = run_extract(
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


def test_a_store_made_otherwise_is_in_the_way(run_extract, photos, onnx):
    assert run_extract("--images", photos, *onnx)[0] == 0
    code, _, err = run_extract(*onnx, "--score-threshold", 0.3)
    assert code == 2
    assert "score_threshold" in err
    assert "--overwrite" in err
    assert run_extract(*onnx, "--score-threshold", 0.3, "--overwrite")[0] == 0


def test_a_store_in_the_way_changes_nothing_in_the_workspace(run_extract, photos, onnx, tmp_path):
    assert run_extract("--images", photos, *onnx)[0] == 0
    memory = (Workspace.open().folder / "workspace.toml").read_bytes()
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption\n0.png,a dog\n")
    code, _, err = run_extract("--images", photos / "inner", "--captions", captions, *onnx)
    assert code == 2
    assert "was made otherwise" in err
    assert (Workspace.open().folder / "workspace.toml").read_bytes() == memory


def test_only_unreadable_images_are_bad_data(run_extract, onnx, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"")
    for _ in range(2):  # the second time, of a finished store
        code, out, err = run_extract("--images", tmp_path / "pictures", *onnx)
        assert (code, out) == (3, "")
        assert "none of 1 image could be read:\n  a.jpg: the file is empty" in err
        assert "--overwrite" in err
    assert Workspace.open().unreadable.read_text() == "a.jpg\tthe file is empty\n"


def test_the_least_number_of_regions_follows_the_largest(run_extract, photos, onnx):
    assert run_extract("--images", photos, *onnx, "--max-regions", 5)[0] == 0
    settings = open_store(Workspace.open().regions).provenance.settings
    assert (settings["min_regions"], settings["max_regions"]) == (5, 5)
    assert run_extract(*onnx, "--overwrite")[0] == 0
    assert open_store(Workspace.open().regions).provenance.settings["min_regions"] == 10


def test_a_workspace_that_was_named_is_named_in_what_comes_next(run_extract, photos, onnx):
    code, out, _ = run_extract("--images", photos, *onnx, "--workspace", "my place")
    assert code == 0
    assert "next: weaksup subsample --workspace 'my place' --ratio 0.2" in out


def test_more_unreadable_images_than_fit(run_extract, onnx, tmp_path):
    Pillow.new("RGB", (20, 20)).save(tmp_path / "99.png")
    for number in range(25):
        (tmp_path / f"{number:02}.jpg").write_bytes(b"")
    code, out, _ = run_extract("--images", tmp_path, *onnx)
    assert code == 0
    assert "unreadable images: 25" in out
    assert "19.jpg: the file is empty" in out
    assert "20.jpg" not in out
    file = Workspace.open().unreadable
    assert f"and 5 more: {file} has all of them" in out
    lines = file.read_text().splitlines()
    assert len(lines) == 25
    assert lines[24] == "24.jpg\tthe file is empty"
    # They are of the latest extraction: here of one that could read everything.
    for picture in tmp_path.glob("*.jpg"):
        Pillow.new("RGB", (20, 20)).save(picture)
    assert run_extract(*onnx, "--overwrite")[0] == 0
    assert not file.exists()


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
        (["--images", "PHOTOS", "ONNX", "--processes", "2"], 2, "--shards 8 --out DIR"),
        (["--images", "PHOTOS", "ONNX", "--shards", "1", "--shard", "1"], 2, "no shard 1 of 1"),
        (["--images", "PHOTOS", "ONNX", "--shard", "3"], 2, "add --shards N, the same for every"),
        (["--images", "PHOTOS", "ONNX", "--labels", "EMPTY"], 2, "empty is a folder"),
        (["--images", "PHOTOS", "ONNX", "--concepts", "EMPTY"], 2, "empty is a folder"),
        (["--images", "PHOTOS", "ONNX", "--shard", "0", "--engine", "ray"], 2, "--shard"),
        (["--images", "PHOTOS", "--min-regions", "9", "--max-regions", "5"], 2, "--min-regions"),
        (["--images", "PHOTOS", "ONNX", "--feature-model", "resnet51"], 2, "resnet50"),
        (["--images", "PHOTOS", "ONNX", "--feature-size", "4"], 2, "--feature-size"),
        (["--images", "PHOTOS", "ONNX", "--feature-size", "448"], 2, "--feature-model"),
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
def test_what_goes_wrong_has_its_exit_code(
    run_extract, photos, onnx, tmp_path, words, code, message
):
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
    got, _, err = run_extract(*(item for word in words for item in places.get(word, [word])))
    assert got == code
    assert message in err
    assert "Traceback" not in err
    assert not Workspace.open().regions.exists()


def test_a_mistyped_model_changes_nothing_in_the_workspace(run_extract, photos):
    assert run_extract("--images", photos, "--detector", "onnx", "--weights", "no.onnx")[0] == 2
    assert not Workspace.open().folder.exists()


@pytest.mark.usefixtures("no_network")
def test_missing_weights_name_their_url(run_extract, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    code, _, err = run_extract("--images", photos, "--detector", "torchvision")
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
    run_extract, many, whole, onnx, number, code
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

    code, out, _ = run_extract(*words)
    assert code == 0
    assert f"{committed * 4} of them done before" in out
    assert contents(store) == contents(whole)
    assert not journal.parent.exists()


# A signal that comes when the main thread has just taken a lock of the pool, and before it is in
# the `with` block that would give it back. It is rare by chance, so it is made to come.
AT_A_LOCK = """
import os, signal, sys, threading
from weaksup.cli import main

owner, main_thread = sys.argv[1], threading.get_ident()
enter, left = threading.Condition.__enter__, 8

def enter_and_be_interrupted(self):
    global left
    result = enter(self)
    of = sys._getframe(1).f_locals.get("self")
    if threading.get_ident() == main_thread and type(of).__name__ == owner:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
    return result

threading.Condition.__enter__ = enter_and_be_interrupted
main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("owner", ["Event", "Semaphore"])
def test_a_signal_leaves_no_thread_waiting_for_a_lock(many, onnx, owner, tmp_path):
    words = ["extract", "--images", many, *onnx, "--workers", 2]
    ended = subprocess.run(
        [sys.executable, "-c", AT_A_LOCK, owner, *map(str, words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 130, ended.stderr
    assert "run the same command again" in ended.stderr
