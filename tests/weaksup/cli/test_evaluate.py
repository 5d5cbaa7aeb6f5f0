"""The command on a real store, captions file and run: closed-form CCA of pictures whose captions
name all that differs between them (see conftest.py), so that the figures are known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.evaluate import PROTOCOLS
from weaksup.cli import main

# Every direction counts alike, and next to no regularisation: the right answer is always found.
EXACT = [
    *("--set", "cca.directions=4", "--set", "cca.power=0", "--set", "cca.ridge=0.01"),
    *("--set", "min_count=1"),
]


FLATTERED = "the best epoch was chosen on these very images"


def called(capsys, *words):
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    return end.value.code, *capsys.readouterr()


@pytest.fixture
def workspace(prepared, capsys):
    assert called(capsys, "train", "--model", "cca", "--name", "cca-0", *EXACT)[0] == 0
    return prepared


@pytest.fixture
def evaluate(workspace, capsys):
    return lambda *words: called(capsys, "evaluate", *words)


def report(workspace, split):
    return json.loads((workspace / "runs" / "cca-0" / f"evaluation-{split}.json").read_text())


def test_bare_it_evaluates_the_latest_run_on_its_test_images(workspace, evaluate):
    code, out, err = evaluate()
    assert code == 0
    assert "rsum 600.0 (95 % bootstrap interval over images 600.0 to 600.0)" in out
    assert "4 images, 8 captions, protocol full" in out
    assert "next: `weaksup train" in out
    assert "1 image of test could not be read: left out" in err
    perfect = {"R@1": 100, "R@5": 100, "R@10": 100, "median_rank": 1, "mean_rank": 1}
    assert report(workspace, "test") == {
        "image_to_text": perfect,
        "text_to_image": perfect,
        "rsum": 600,
        "images": 4,
        "captions": 8,
        "protocol": "full",
        "split": "test",
        "model": "cca",
        "run": "cca-0",
        "captions_file": str(workspace.parent / "captions.csv"),
        "regions_file": str(workspace / "regions.h5"),
    }


def test_figures_of_a_split_with_a_known_mistake(workspace, evaluate, pictures, tmp_path):
    # Two images that differ in everything have each other's captions; the other two lie between.
    pictures.captions(tmp_path / "captions.csv", pictures.splits(), says={16: 17, 17: 16})
    code, out, _ = evaluate("--split", "val", "--json", "out/figures.json")
    assert code == 0
    found = report(workspace, "val")
    assert found["image_to_text"]["R@1"] == 50
    assert found["image_to_text"]["mean_rank"] == (7 + 7 + 1 + 1) / 4
    assert found["text_to_image"]["R@1"] == 50
    assert found["text_to_image"]["mean_rank"] == (4 * 4 + 4 * 1) / 8
    assert json.loads(Path("out/figures.json").read_text()) == found
    assert "evaluation-val.json" in out


def test_without_test_images_it_takes_val_and_says_so(workspace, evaluate, pictures, tmp_path):
    pictures.captions(tmp_path / "captions.csv", dict.fromkeys((16, 17), "val"))
    code, _, err = evaluate()
    assert code == 0
    assert "no image of the store is in the split test: val is used instead" in err
    assert FLATTERED not in err  # what is solved in closed form has no epochs to choose from
    assert report(workspace, "val")["split"] == "val"
    assert not (workspace / "runs" / "cca-0" / "evaluation-test.json").exists()


def test_val_for_want_of_test_flatters_what_was_chosen_on_it(prepared, pictures, capsys, tmp_path):
    training = pictures.captions(tmp_path / "captions.csv", pictures.splits())
    tiny = ("--set", "embed_size=8", "--set", "text.word_size=4")
    assert called(capsys, "train", "--model", "vsepp", "--epochs", "1", *tiny)[0] == 0
    pictures.captions(training, dict.fromkeys((16, 17), "val"))
    assert FLATTERED in called(capsys, "evaluate")[2]
    assert FLATTERED not in called(capsys, "evaluate", "--split", "val")[2]  # who asks knows
    # The captions of another corpus had no part in training.
    other = pictures.captions(tmp_path / "other.csv", dict.fromkeys((16, 17), "val"))
    assert FLATTERED not in called(capsys, "evaluate", "--captions", other)[2]


def test_a_split_without_images_is_bad_data(evaluate, pictures, tmp_path):
    pictures.captions(tmp_path / "captions.csv", dict.fromkeys((16, 17), "val"))
    code, out, err = evaluate("--split", "train")
    assert (code, out) == (3, "")
    assert "is in the split train" in err


def test_other_captions_and_regions(workspace, evaluate, pictures, tmp_path):
    assert evaluate()[0] == 0
    own = report(workspace, "test")
    memory = (workspace / "workspace.toml").read_text()
    other = pictures.captions(tmp_path / "other.csv", dict.fromkeys((1, 2, 3, 20), "test"))
    regions = pictures.regions(tmp_path / "other.h5")
    for words in (("--captions", other, "--regions", regions), ("--captions", other)):
        code, out, err = evaluate(*words)
        assert code == 0
        assert "4 images, 8 captions" in out
        assert "evaluation-test-other.json" in out
        # Of the training images 1, 2 and 3 only 3 is annotated, and cca sees no others.
        assert "warning: 1 of 4 evaluated images in the training of the run cca-0" in err
    found = report(workspace, "test-other")
    assert (found["split"], found["images"]) == ("test", 4)
    assert found["captions_file"] == str(other)
    # Neither the run's own figures nor the next `train` are disturbed.
    assert report(workspace, "test") == own
    assert (workspace / "workspace.toml").read_text() == memory


@pytest.mark.parametrize("command", ["evaluate", "index"])
def test_a_device_that_is_not_here_is_refused(workspace, capsys, command):
    before = {*(workspace / "runs/cca-0").iterdir()}
    code, out, err = called(capsys, command, "--device", "cuda:99")
    assert (code, out) == (2, "")
    assert err.startswith("error: device cuda:99 is not here")
    assert {*(workspace / "runs/cca-0").iterdir()} == before
    assert called(capsys, command, "--device", "cpu")[0] == 0


def test_a_copied_workspace_reads_its_own_store(workspace, capsys, tmp_path):
    copy = tmp_path / "elsewhere/workspace"
    shutil.copytree(workspace, copy)
    (copy / "regions.h5").write_bytes(b"junk")
    assert called(capsys, "evaluate")[0] == 0
    code, _, err = called(capsys, "evaluate", "--workspace", copy)
    assert code == 3
    assert f"{copy / 'regions.h5'} " in err
    shutil.copy(workspace / "regions.h5", copy)
    code, out, _ = called(capsys, "evaluate", "--workspace", copy)
    assert code == 0
    assert "evaluation-test.json" in out
    assert report(copy, "test")["regions_file"] == str(copy / "regions.h5")


def test_a_run_without_its_workspace_does_not_pass_off_another_store_as_its_own(
    workspace, evaluate, pictures, tmp_path
):
    home = tmp_path / "other"
    shutil.copytree(workspace / "runs/cca-0", home / "runs/cca-0")
    code, out, err = evaluate("--run", home / "runs/cca-0")
    assert (code, out) == (3, "")
    assert f"{home / 'regions.h5'}, where the run cca-0 looks for what it was trained on" in err
    assert "a run moves with its whole workspace" in err
    pictures.regions(home / "regions.h5", without=1)
    code, out, err = evaluate("--run", home / "runs/cca-0")
    assert code == 0, err
    assert f"{home / 'regions.h5'} is another store than the run cca-0 was trained on" in err
    assert not (home / "runs/cca-0/evaluation-test.json").exists()
    assert (home / "runs/cca-0/evaluation-test-other.json").exists()


@pytest.mark.parametrize("words", [("index",), ("report",), ("search", "dark cat")])
def test_every_command_that_ranks_says_which_store_is_not_the_run_s(
    workspace, capsys, pictures, words
):
    warning = f"warning: {workspace / 'regions.h5'} is another store than the run cca-0 was"
    for other in (False, True):
        if other:  # made anew, of other pictures
            (workspace / "regions.h5").unlink()
            pictures.regions(workspace / "regions.h5", without=1)
        code, _, err = called(capsys, *words, "--run", "cca-0")
        assert code == 0, err
        assert err.count(warning) == other
        shutil.rmtree(workspace / "runs/cca-0/index", ignore_errors=True)


@pytest.mark.parametrize("weight", ["nan", "inf", "-1"])
def test_a_weight_that_is_none_is_refused(evaluate, weight):
    code, out, err = evaluate("--rerank", 5, "--rerank-weight", weight)
    assert (code, out) == (2, "")
    assert "--rerank-weight" in err


def test_what_has_not_ended_says_so(workspace, evaluate):
    assert "has not ended" not in evaluate()[2]
    (workspace / "runs/cca-0/last.pt").touch()
    assert "note: the training of the run cca-0 has not ended: these are its best" in evaluate()[2]


def test_own_data_by_name_are_own_data(workspace, evaluate, tmp_path):
    code, out, err = evaluate(
        *("--captions", tmp_path / "captions.csv", "--regions", workspace / "regions.h5")
    )
    assert code == 0
    assert "evaluation-test.json" in out
    assert "warning" not in err


def test_data_that_moved_are_own_data(workspace, evaluate, tmp_path):
    (tmp_path / "captions.csv").rename(tmp_path / "moved.csv")
    assert evaluate("--captions", tmp_path / "moved.csv")[0] == 0
    assert report(workspace, "test")["captions_file"] == str(tmp_path / "moved.csv")


def test_it_warns_of_the_train_split(workspace, evaluate):
    code, _, err = evaluate("--split", "train")
    assert code == 0
    assert "warning: 8 of 16 evaluated images in the training" in err
    (workspace / "annotations.json").unlink()
    assert "is not known" in evaluate("--split", "train")[2]


def test_regions_of_another_detector_are_refused(evaluate, pictures, tmp_path):
    other = pictures.regions(tmp_path / "other.h5", detector="onnx")
    code, _, err = evaluate("--regions", other)
    assert code == 3
    assert "differ from those of the run cca-0 in detector: onnx, not demo\n" in err
    assert "the same detector and settings" in err
    imported = pictures.regions(tmp_path / "imported.h5", detector="imported:precomp")
    code, _, err = evaluate("--regions", imported)
    assert code == 3
    assert "in detector: imported:precomp, not demo\n" in err
    assert "hint: they were imported" in err


@pytest.mark.parametrize("run", ["cca-0", "workspace/runs/cca-0"])
def test_a_run_is_named_by_folder_or_by_name(workspace, evaluate, run):
    assert evaluate("--run", run)[0] == 0
    assert report(workspace, "test")["run"] == "cca-0"


def test_an_unknown_run_lists_those_there_are(evaluate):
    code, _, err = evaluate("--run", "cca-1")
    assert code == 2
    assert "did you mean 'cca-0'?" in err
    assert "cca-0" in err.splitlines()[-1]


def test_a_run_without_weights_is_passed_over_or_named(workspace, evaluate):
    begun = workspace / "runs" / "begun"
    begun.mkdir()
    (begun / "config.json").write_bytes((workspace / "runs/cca-0/config.json").read_bytes())
    code, out, _ = evaluate()
    assert code == 0
    assert "cca-0 (cca) on test" in out
    for words in (("--run", "begun"), ()):
        code, _, err = evaluate(*words)
        assert code == 3
        assert f"the run {begun} is not trained yet" in err
        assert "run the same `weaksup train` again" in err
        (workspace / "runs/cca-0/model.safetensors").unlink(missing_ok=True)


def test_brackets_in_names_are_no_markup(workspace, evaluate):
    (workspace / "runs" / "cca-0").rename(workspace / "runs" / "cca[red]0")
    code, out, _ = evaluate()
    assert code == 0
    assert "cca[red]0 (cca) on test" in out


def test_a_workspace_without_runs_names_the_command_to_run(evaluate, monkeypatch, tmp_path):
    monkeypatch.setenv("WEAKSUP_WORKSPACE", str(tmp_path / "none"))
    code, _, err = evaluate()
    assert code == 3
    assert "weaksup train" in err


@pytest.mark.parametrize(("file", "option"), [("captions.csv", "--captions"), ("", "--regions")])
def test_a_file_of_the_run_that_is_gone_names_the_option(
    workspace, evaluate, tmp_path, file, option
):
    (tmp_path / file if file else workspace / "regions.h5").unlink()
    code, _, err = evaluate()
    assert code == 3
    assert "is gone" in err
    assert option in err


def test_folds_need_five_thousand_images(evaluate):
    code, _, err = evaluate("--protocol", "folds-1k")
    assert code == 2
    assert "--protocol full" in err


def test_the_option_offers_every_protocol():
    from weaksup.cli.evaluate import command

    option = next(option for option in command.params if option.name == "protocol")
    assert list(option.type.choices) == list(PROTOCOLS)


@pytest.mark.parametrize(
    "words", [("--split", "dev"), ("--captions", "none.csv"), ("--regions", "none.h5")]
)
def test_wrong_usage(evaluate, words):
    code, out, err = evaluate(*words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_the_figures_go_through_links_and_into_pipes(workspace, evaluate, tmp_path):
    link, pipe = tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to("target.json")
    os.mkfifo(pipe)
    # Open for both, so that neither side waits for the other.
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    for file in (link, pipe, "/dev/null", "plain.json"):
        code, out, err = evaluate("--json", file)
        assert code == 0, err
        assert f"written: {file}" in out
    found = report(workspace, "test")
    assert link.is_symlink()
    assert json.loads((tmp_path / "target.json").read_text()) == found
    assert pipe.is_fifo()
    assert json.loads(os.read(reader, 1 << 16)) == found
    assert Path("/dev/null").is_char_device()
    assert json.loads(Path("plain.json").read_text()) == found
    os.close(reader)


def test_standard_output_may_be_a_file(workspace, tmp_path):
    output = tmp_path / "output.txt"
    command = [sys.executable, "-m", "weaksup.cli", "evaluate", "--json", "/dev/stdout"]
    with output.open("w") as file:
        subprocess.run(command, stdout=file, check=True)
    text = output.read_text()
    assert text.startswith("cca-0 (cca) on test")
    assert json.loads(text[text.index("{") : text.rindex("}") + 1]) == report(workspace, "test")
    assert "next: `weaksup train" in text


def test_a_run_that_cannot_be_written_is_evaluated_all_the_same(workspace, evaluate):
    # A folder of that name is in the way of whoever may write anywhere, too.
    (workspace / "runs" / "cca-0" / "evaluation-test.json").mkdir()
    code, out, err = evaluate()
    assert code == 3
    assert "rsum 600.0" in out
    assert "the figures could not be kept" in err
    assert "evaluation-test.json cannot be written" in err
    assert "--json" in err
    code, out, err = evaluate("--json", "figures.json")
    assert code == 0
    assert "rsum 600.0" in out
    assert "evaluation-test.json cannot be written" in err
    assert json.loads(Path("figures.json").read_text())["rsum"] == 600


def test_json_that_cannot_be_written_is_wrong_usage(workspace, evaluate):
    code, out, err = evaluate("--json", "captions.csv/figures.json")
    assert (code, out) == (2, "")  # it is told before the work
    assert "captions.csv is a file, not a folder" in err
    # Not in the run's folder, either.
    assert not (workspace / "runs" / "cca-0" / "evaluation-test.json").exists()


def test_a_workspace_that_was_named_is_named_in_what_comes_next(workspace, evaluate):
    code, out, _ = evaluate("--workspace", workspace)
    assert code == 0
    assert f"next: `weaksup train --workspace {workspace} --model a3vse`" in out


SMALL = ("epochs=1", "batch_size=8", "embed_size=8", "word_size=8", "min_count=1", "w_adv=0")


@pytest.fixture
def a3vse(workspace, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--name", "net", *(word for s in SMALL for word in ("--set", s))])
    assert end.value.code == 0
    capsys.readouterr()
    return workspace


@pytest.mark.parametrize(("setting", "count"), [("true", 16), ("false", 8)])
def test_of_unannotated_images_it_warns_where_the_run_has_read_them(
    prepared, capsys, setting, count
):
    words = [word for each in (*SMALL, f"unannotated={setting}") for word in ("--set", each)]
    assert called(capsys, "train", *words)[0] == 0
    code, _, err = called(capsys, "evaluate", "--split", "train")
    assert code == 0
    assert f"warning: {count} of 16 evaluated images in the training of the run a3vse" in err


def test_re_ranking_reports_its_gain_and_its_cost(a3vse, evaluate):
    assert evaluate("--run", "net")[0] == 0
    path = a3vse / "runs" / "net" / "evaluation-test.json"
    plain = json.loads(path.read_text())
    assert "rerank" not in plain
    code, out, _ = evaluate("--run", "net", "--rerank", 3, "--rerank-weight", 0.5)
    assert code == 0
    report = json.loads(path.read_text())
    found = report.pop("rerank")
    assert report == plain
    assert (found["top"], found["weight"]) == (3, 0.5)
    assert found["gain"] == found["rsum"] - plain["rsum"]
    assert 0 < found["pairs"] <= (4 + 8) * 3
    assert f"best 3 by cross attention x 0.5: rsum {found['rsum']:.1f}" in out
    assert f"{found['pairs']:,} pairs in" in out
    assert "queries/s" in out


def test_re_ranked_lists_are_no_longer_than_what_there_is(a3vse, evaluate):
    for top, said in ((4, "best 4 by"), (5, "best 4 images and 5 captions by")):
        assert said in evaluate("--run", "net", "--rerank", top)[1]
    out = evaluate("--run", "net", "--rerank", 100_000)[1]
    assert "re-ranked, best 4 images and 8 captions by cross attention" in out


def test_re_ranking_that_cannot_be_is_wrong_usage(evaluate):
    code, out, err = evaluate("--rerank", 3)
    assert (code, out) == (2, "")
    assert "does not compare regions with words" in err
    code, _, err = evaluate("--rerank-weight", 0.5)
    assert code == 2
    assert "--rerank 50" in err


def test_help_names_the_weight_that_is_taken(evaluate):
    from trainer.reranking import RERANK_WEIGHT

    out = evaluate("--help")[1]
    assert f"[default: {RERANK_WEIGHT:g}]" in " ".join(out.split())
