"""``weaksup train`` as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from trainer.run import load_run
from weaksup.cli import main
from weaksup.workspace import Workspace

# Half a second a run.
TINY = [
    *("--set", "embed_size=8", "--set", "word_size=6", "--set", "heads=2"),
    *("--set", "batch_size=4", "--set", "device=cpu", "--set", "min_count=1"),
    *("--set", "cca.directions=4"),
]


@pytest.fixture
def train(prepared, capsys):
    def call(*words, tiny=True):
        with pytest.raises(SystemExit) as end:
            main(["train", *(TINY if tiny else ()), *map(str, words)])
        return end.value.code, *capsys.readouterr()

    return call


def weights(workspace, name):
    return (workspace / "runs" / name / "model.safetensors").read_bytes()


@pytest.mark.parametrize("model", ["a3vse", "vsepp", "vse-infty", "scan", "cca"])
def test_every_model_trains_and_can_be_evaluated(train, prepared, model, capsys):
    code, out, err = train("--model", model, "--epochs", 2)
    assert code == 0, err
    folder = prepared / "runs" / model
    assert f"written: {folder}" in out
    assert "val rsum" in out
    assert "next: `weaksup evaluate`" in out
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "model.safetensors", "vocabulary.json", "metrics.jsonl", "tensorboard")
    }
    assert load_run(folder).model_name == model
    with pytest.raises(SystemExit) as end:
        main(["evaluate"])
    assert end.value.code == 0
    assert f"{model} ({model}) on test" in capsys.readouterr().out


def test_bare_it_trains_the_default_model(train, prepared):
    code, _, err = train("--epochs", 1)
    assert code == 0, err
    assert (prepared / "runs" / "a3vse" / "model.safetensors").exists()


def test_settings_come_from_file_and_options(train, prepared, tmp_path):
    (tmp_path / "settings.toml").write_text(
        'model = "vsepp"\nepochs = 3\nseed = 5\n[loss]\nmargin = 0.5\n'
    )
    code, _, err = train("--config", "settings.toml", "--seed", 6, "--set", "epochs=1")
    assert code == 0, err
    config = load_run(prepared / "runs" / "vsepp").description.config
    assert (config.epochs, config.seed, config.loss.margin) == (1, 6, 0.5)


def test_other_files_than_the_workspaces(train, prepared, pictures, tmp_path):
    splits = {number: split for number, split in pictures.splits().items() if split == "train"}
    captions = pictures.captions(tmp_path / "other.csv", splits)
    annotations = pictures.annotations(tmp_path / "other.json", captions, range(16))
    regions = pictures.regions(tmp_path / "other.h5")
    code, out, err = train(
        *("--model", "cca", "--regions", regions, "--captions", captions),
        *("--annotations", annotations),
    )
    assert code == 0, err
    run = load_run(prepared / "runs" / "cca")
    assert (run.regions, run.captions) == (regions, captions)
    assert run.description.annotations == annotations
    assert str(captions) in (prepared / "workspace.toml").read_text()
    # There is no val image to score the run on.
    assert "rsum" not in out


def test_runs_without_a_name_are_counted(train, prepared):
    for _ in range(3):
        assert train("--model", "cca")[0] == 0
    assert {path.name for path in (prepared / "runs").iterdir()} == {"cca", "cca-2", "cca-3"}


def test_a_name_is_not_taken_twice(train, prepared):
    assert train("--model", "cca", "--name", "mine")[0] == 0
    before = weights(prepared, "mine")
    code, out, err = train("--model", "cca", "--name", "mine", "--seed", 1)
    assert (code, out) == (2, "")
    assert "mine already, finished" in err
    assert "--name" in err
    assert weights(prepared, "mine") == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--model", "a3vs"), "did you mean 'a3vse'?"),
        (("--set", "loss.w_wek=1"), "did you mean 'loss.w_weak'?"),
        (("--set", "epoch=1"), "did you mean 'epochs'?"),
        (("--epochs", "0"), "'--epochs': 0"),
        (("--seed", "-1"), "'--seed': -1"),
        (("--seed", "4294967296"), "'--seed': 4294967296"),
        (("--set", "seed=4294967296"), "at most 4294967295"),
        (("--set", "lr=high"), 'lr = "high"'),
        (("--set", "epochs"), "expected KEY=VALUE"),
        (("--set", "heads=3"), "does not divide embed_size"),
        (
            [f"--set={name}=0" for name in ("w_gold", "w_weak", "w_adv", "w_pseudo")],
            "every weight of a loss is 0",
        ),
        (
            [f"--set={item}" for item in ("w_gold=0", "unannotated=false")],
            "unannotated = false leaves nothing to train",
        ),
        (("--name", "a/b"), "no folder name"),
        (("--name", ""), "no folder name"),
        (("--name", ".."), "no folder name"),
        (("--set", "device=gpu"), "unknown device 'gpu'"),
        (("--set", "precision=fp16"), "needs a GPU"),
        (("--config", "none.toml"), "none.toml"),
        (("--regions", "none.h5"), "none.h5"),
        (("--captions", "none.csv"), "none.csv"),
        (("--annotations", "none.json"), "none.json"),
        (("surplus",), "surplus"),
    ],
)
def test_wrong_usage(train, prepared, words, expected):
    code, out, err = train(*words)
    assert (code, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err
    assert not list((prepared / "runs").glob("*/config.json"))


def test_everything_that_is_wrong_is_said_at_once(train):
    code, _, err = train("--model", "cc", "--set", "epoch=3", "--set", "lr=-1")
    assert code == 2
    assert "3 settings are wrong" in err
    for part in ("'cca'", "'epochs'", "lr = -1"):
        assert part in err


@pytest.mark.parametrize(
    ("lost", "hint"),
    [
        ("regions.h5", "weaksup extract --images DIR"),
        ("annotations.json", "weaksup subsample --ratio"),
        ("../captions.csv", "--captions FILE"),
    ],
)
def test_without_what_the_stages_before_write(train, prepared, lost, hint):
    (prepared / lost).unlink()
    code, out, err = train()
    assert (code, out) == (3, "")
    assert lost.removeprefix("../") in err
    assert hint in err
    assert not (prepared / "runs").exists()


@pytest.mark.parametrize("name", ["regions.h5", "annotations.json"])
def test_damaged_input(train, prepared, name):
    (prepared / name).write_text("rubbish")
    code, _, err = train()
    assert code == 3
    assert name in err


def test_captions_that_the_annotations_were_not_made_from(train, prepared, pictures, tmp_path):
    other = pictures.captions(tmp_path / "other.csv", pictures.splits(), says={0: 1})
    code, _, err = train("--captions", other)
    assert code == 3
    assert "other captions" in err
    assert "weaksup subsample" in err


def test_there_is_nothing_to_resume(train):
    assert train("--model", "cca", "--name", "done")[0] == 0
    for words in ((), ("--name", "done")):
        code, out, err = train("--resume", *words)
        assert (code, out) == (3, "")
        # The error alone, without notes on captions.
        assert err.startswith("error: there is no interrupted run to resume in ")
    assert err.splitlines()[0].endswith("runs/done")


def test_a_full_disk_is_told_with_the_runs_folder(train, prepared):
    folder = prepared / "runs" / "cca"
    folder.mkdir(parents=True)
    file = folder / "vocabulary.json"
    file.symlink_to("/dev/full")
    code, _, err = train("--model", "cca")
    assert code == 3
    assert f"error: {folder} cannot be written: No space left on device\nhint: make room" in err
    file.unlink()
    assert train("--model", "cca")[0] == 0


def test_a_place_for_runs_that_cannot_be_written_is_wrong_usage(train, prepared):
    (prepared / "runs").write_text("")
    (prepared / "regions.h5").unlink()  # it is told before anything is read
    for words in ((), ("--name", "mine")):
        code, out, err = train("--model", "cca", *words)
        assert (code, out) == (2, "")
        assert f"cannot be written: {prepared / 'runs'} is a file, not a folder" in err
        assert "--workspace" in err


def start(command, *, new_session=False):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "weaksup.cli", *command],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )


def terminate(process):
    process.send_signal(signal.SIGTERM)
    wait_for_interruption(process)


def wait_for_interruption(process):
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130, message
    assert "interrupted; what was done so far is kept" in message
    assert "Traceback" not in message


@contextmanager
def started(command, metrics, *, new_session=False):
    """A process in the middle of training, which ends with the block."""
    process = start(command, new_session=new_session)
    deadline = time.monotonic() + 60
    while not metrics.exists() or metrics.read_text().count("\n") < 8:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def running(prepared):
    """A process in the middle of training, and its arguments."""
    command = ["train", *TINY, "--model", "a3vse", "--epochs", "25"]
    with started(command, prepared / "runs" / "a3vse" / "metrics.jsonl") as process:
        yield process, command


@pytest.fixture
def interrupted(running):
    """The arguments of a command that SIGTERM has stopped in the middle."""
    process, command = running
    terminate(process)
    return command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_process_group_is_for_training_alone(prepared, train, number):
    """As torchrun and a terminal send it: reading workers get it, too."""
    command = ["train", *TINY, "--model", "a3vse", "--epochs", "25", "--set", "workers=1"]
    metrics = prepared / "runs" / "a3vse" / "metrics.jsonl"
    with started(command, metrics, new_session=True) as process:
        os.killpg(process.pid, number)
        wait_for_interruption(process)
    code, _, err = train(*command[1:], tiny=False)
    assert code == 0, err
    assert f"resuming {metrics.parent}" in err


def test_two_processes_do_not_train_one_run(running, train, prepared):
    process, command = running
    folder = prepared / "runs" / "a3vse"
    assert (folder / "last.pt").exists()  # after the first epoch
    # Stopped, so that it cannot come to its end meanwhile.
    process.send_signal(signal.SIGSTOP)
    others = ("--epochs", "1", "--name", "a3vse")
    found = [
        train(*command[1:], *words, tiny=False) for words in ((), others, (*others, "--resume"))
    ]
    process.send_signal(signal.SIGCONT)
    for code, out, err in found:
        assert (code, out) == (2, "")
        assert f"another process is training {folder}" in err
    terminate(process)
    assert not (folder / "lock").exists()


def test_sigterm_while_data_are_read_is_an_interruption(prepared, tmp_path):
    pipe = tmp_path / "annotations.json"
    os.mkfifo(pipe)
    process = start(["train", *TINY, "--annotations", str(pipe)])
    # Opening waits until the other side is open as well: then it reads, and waits for us.
    with pipe.open("w"):
        terminate(process)
    assert not (prepared / "runs").exists()


def test_the_same_command_goes_on_after_sigterm(interrupted, train, prepared):
    folder = prepared / "runs" / "a3vse"
    # Another run does not take its place.
    state = (folder / "last.pt").read_bytes()
    assert train("--model", "a3vse", "--epochs", 1)[0] == 0
    assert (prepared / "runs" / "a3vse-2" / "model.safetensors").exists()
    for words in (("--name", "a3vse"), ("--name", "a3vse", "--resume"), ("--resume",)):
        code, _, err = train("--model", "a3vse", "--epochs", 1, *words)
        assert code == 2
        assert f"run in {folder} was made with other settings (epochs 25, now 1)" in err
        assert "resuming" not in err
    assert (folder / "last.pt").read_bytes() == state

    code, _, err = train(*interrupted[1:], tiny=False)
    assert code == 0, err
    assert f"resuming {folder}" in err
    assert not (folder / "last.pt").exists()
    code, *_ = train(*interrupted[1:], "--name", "whole", tiny=False)
    assert code == 0
    assert weights(prepared, "a3vse") == weights(prepared, "whole")
    first, second = (
        [json.loads(line) for line in (prepared / "runs" / name / "metrics.jsonl").open()]
        for name in ("a3vse", "whole")
    )
    assert first == second


def test_an_interrupted_run_needs_a_folder_of_its_own_that_can_be_written(
    interrupted, prepared, only_reading
):
    runs = prepared / "runs"
    folder = runs / "a3vse"
    (prepared / "regions.h5").rename(prepared / "hidden.h5")
    try:
        # That the runs' folder may only be read does not matter: it is told what is read first.
        runs.chmod(0o555)
        for words in ((), ("--resume",)):
            ended = only_reading(*interrupted, *words)
            assert ended.returncode == 3
            assert "regions.h5 does not exist" in ended.stderr
        runs.chmod(0o755)
        folder.chmod(0o555)
        for words in ((), ("--resume",), ("--name", "a3vse")):
            ended = only_reading(*interrupted, *words)
            assert (ended.returncode, ended.stdout) == (2, "")
            assert f"{folder} cannot be written: Permission denied" in ended.stderr
    finally:
        runs.chmod(0o755)
        folder.chmod(0o755)


def test_a_damaged_state_is_bad_data(train, prepared):
    folder = prepared / "runs" / "a3vse"
    assert train("--model", "a3vse", "--epochs", 1)[0] == 0
    (folder / "last.pt").write_bytes(b"rubbish")
    code, _, err = train("--model", "a3vse", "--epochs", 1)
    assert code == 3
    assert "last.pt cannot be read" in err


def test_a_run_that_was_stopped_before_its_first_checkpoint_is_begun_anew(train, prepared):
    assert train("--epochs", 1, "--name", "mine")[0] == 0
    folder = prepared / "runs" / "mine"
    expected = weights(prepared, "mine")
    for name in ("model.safetensors", "metrics.jsonl", "vocabulary.json"):
        (folder / name).unlink()
    code, _, err = train("--epochs", 2, "--name", "mine")
    assert code == 2
    assert "made from other data or settings" in err
    assert train("--epochs", 1, "--name", "mine")[0] == 0
    assert weights(prepared, "mine") == expected


@pytest.mark.parametrize("model", ["cca", "a3vse"])
def test_one_annotated_image_is_too_few_for_canonical_correlation(train, prepared, model):
    annotations = prepared / "annotations.json"
    content = json.loads(annotations.read_text())
    content["unannotated"] += content["annotated"][1:]
    content["annotated"] = content["annotated"][:1]
    content["captions_kept"] = {content["annotated"][0]: [0]}
    annotations.write_text(json.dumps(content))
    code, _, err = train("--model", model, "--epochs", 1)
    assert code == 3
    assert "there is one annotated image alone: canonical correlation needs different ones" in err
    if model == "a3vse":
        without = ("--set", "loss.w_pseudo=0", "--set", "fusion.linear=0")
        assert train("--epochs", 1, *without)[0] == 0


def test_captions_are_remembered_unless_the_annotations_are_of_others(
    train, prepared, pictures, tmp_path
):
    remembered = Workspace.open().captions
    other = pictures.captions(tmp_path / "other.csv", pictures.splits(), says={0: 1})
    code, _, err = train("--captions", other, "--model", "cca")
    assert code == 3
    assert "were made from other captions" in err
    assert Workspace.open().captions == remembered
    again = pictures.captions(tmp_path / "again.csv", pictures.splits())
    assert train("--captions", again, "--model", "cca")[0] == 0
    assert Workspace.open().captions == again


def test_a_workspace_that_was_named_is_named_in_hints(train, prepared):
    words = ("--workspace", prepared, "--model", "cca")
    code, out, _ = train(*words)
    assert code == 0
    assert f"next: `weaksup evaluate --workspace {prepared}`" in out
    (prepared / "annotations.json").unlink()
    code, _, err = train(*words)
    assert code == 3
    assert f"run `weaksup subsample --workspace {prepared} --ratio 0.2` first" in err


def test_a_run_that_is_refused_leaves_no_folder(train, prepared):
    code, *_ = train("--set", "device=gpu")
    assert code == 2
    assert not (prepared / "runs").exists()
