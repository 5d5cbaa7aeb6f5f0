"""``weaksup compare`` as a user calls it: results, labels, refusals."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pipelines.compare.results import read_ranks
from trainer.config import MODEL_NAMES
from trainer.evaluate import evaluate_images
from trainer.metrics import recall_metrics, rsum
from trainer.run import load_run
from weaksup.cli import main
from weaksup.corpora import read_annotations

LABELS = ["cca", "a3vse", "a3vse, no adversary"]


def test_every_cell_has_a_line(done, world):
    records = world.results()
    assert [(r["ratio"], r["seed"], r["label"]) for r in records] == [
        *((0.5, seed, label) for seed in (0, 1) for label in LABELS),
        *((1.0, seed, label) for seed in (0, 1) for label in LABELS[:2]),
    ]
    data = world.data(done[1], hold_out=5)
    for record in records:
        folder = world.reports() / "cells"
        label = record["label"].replace(", ", "-").replace(" ", "-")
        folder /= f"{label}-{record['ratio']}-{record['trained_seed']}"
        result = evaluate_images(load_run(folder), data.store, data.test.images)
        for name in ("image_to_text", "text_to_image", "rsum"):
            assert record[name] == pytest.approx(getattr(result, name))
        kept = read_annotations(folder / "annotations.json")
        assert record["annotated_images"] == len(kept.annotated)
        assert record["annotated_images"] == round(19 * record["ratio"] + 1e-9)
        assert record["annotated_captions"] == 2 * record["annotated_images"]
        assert record["training_images"] == 19 + 4
        assert (record["split"], record["images"], record["captions"]) == ("test", 4, 8)
        assert record["settings"]["seed"] == record["trained_seed"]
        assert record["set"] == ({"w_adv": 0} if "adversary" in record["label"] else {})
        assert record["seconds"] > 0
        assert (record["steps_per_second"] is None) == (record["model"] == "cca")


def test_ratios_are_nested_and_seeds_choose(done, world):
    def annotated(name):
        return set(read_annotations(world.reports() / f"cells/{name}/annotations.json").annotated)

    assert annotated("a3vse-0.5-0") < annotated("a3vse-1.0-0")
    assert annotated("a3vse-0.5-0") == annotated("cca-0.5-0") != annotated("cca-0.5-1")


def test_all_captions_need_one_training_of_the_closed_form(done, world):
    assert not (world.reports() / "cells/cca-1.0-1").exists()
    first, second = (r for r in world.results() if (r["label"], r["ratio"]) == ("cca", 1.0))
    assert (first["seed"], second["seed"], second["trained_seed"]) == (0, 1, 0)
    assert first["rsum"] == second["rsum"]


def test_the_ranks_that_are_kept_give_the_figures(done, world):
    record = world.results()[1]
    (ranks,) = read_ranks(world.reports() / "cells/a3vse-0.5-0/ranks.npz", "full")
    found = recall_metrics(ranks.image_to_text), recall_metrics(ranks.text_to_image)
    assert found == (record["image_to_text"], record["text_to_image"])
    assert rsum(*found) == record["rsum"]


def test_what_is_shown(done, world):
    _, _, out, err = done
    for text in ("50 % of the captions (10 images)", "100 % of the captions", "Ablation of a3vse"):
        assert text in out
    page = (world.reports() / "results.md").read_text(encoding="utf-8")
    assert "recall in percent on 4 images of test with 8 captions" in page
    assert "5 training images are held out as val" in page
    records = [r for r in world.results() if (r["label"], r["ratio"]) == ("a3vse", 0.5)]
    rsums = [r["rsum"] for r in records]
    shown = f"{np.mean(rsums):.1f} ± {np.std(rsums, ddof=1):.1f}"
    assert any(line.startswith("| a3vse |") and shown in line for line in page.splitlines())
    for name in ("recall-over-ratio-text-to-image", "recall-over-ratio-image-to-text", "ablation"):
        for suffix in ("png", "svg"):
            path = world.reports() / f"{name}.{suffix}"
            assert f"written: {path}" in out
            assert path.stat().st_size > 5000
    assert "9 trainings\n" in err
    assert "[9/9] a3vse, 100 %, seed 1: rsum" in err
    assert "next: add to" in out
    assert "Warning" not in err
    assert "no plot" not in err


def test_where_there_is_nothing_to_draw_a_note_says_why(world, compare):
    path = world.config('models = ["cca"]\nratios = [0.5]\n')
    code, out, err = compare(path, captions=world.captions())
    assert code == 0
    assert err.count("note: no plot is drawn: a line needs a label with two ratios or more") == 1
    assert ".png" not in out
    assert "no plot" not in compare(path, "--no-plots", captions=world.captions())[2]


def test_letters_that_plots_cannot_show_are_named(world, compare):
    path = world.config(
        'ratios = [0.5, 1.0]\nseeds = [0]\n[[variant]]\nlabel = "cca 日本"\nmodel = "cca"\n'
    )
    code, _, err = compare(path, captions=world.captions())
    assert code == 0
    assert err.count("lacks 日本: boxes in the .png; the .svg has them") == 1
    assert "Glyph" not in err


def test_only_some_labels(asked, world, compare):
    path, captions = asked
    code, out, err = compare(path, "--only", "cca", captions=captions)
    assert code == 0, err
    assert {r["label"] for r in world.results()} == {"cca"}
    page = (world.reports() / "results.md").read_text(encoding="utf-8")
    assert "6 of 10 cells not done" in page
    code, out, err = compare(path, "--only", LABELS[2], captions=captions)
    assert code == 0, err
    # Without the plain model there is nothing that the variant could be compared with.
    assert "Ablation" not in out
    assert {r["label"] for r in world.results()} == {"cca", LABELS[2]}
    code, out, err = compare(path, "--only", "ca", captions=captions)
    assert (code, out) == (2, "")
    assert "did you mean 'cca'?" in err


@pytest.mark.parametrize("model", [name for name in MODEL_NAMES if name not in ("cca", "a3vse")])
def test_every_model_can_be_compared(world, compare, model):
    """Those that score pair by pair, too."""
    path = world.config(f'models = ["{model}"]\nratios = [0.5]\nseeds = [0]\n')
    code, _, err = compare(path, captions=world.captions())
    assert code == 0, err
    assert [record["model"] for record in world.results()] == [model]


@pytest.mark.slow
def test_processes_find_the_same(done, world, compare, monkeypatch):
    path, captions, _, _ = done
    monkeypatch.setattr("pipelines.compare.workers.processors", lambda: 2)
    path = path.rename(path.with_name("parallel.toml"))
    code, _, err = compare(path, "--jobs", 2, captions=captions)
    assert code == 0, err
    assert err.count("/9] ") == 9
    assert world.figures("parallel") == world.figures()


@pytest.mark.slow
def test_a_cell_that_cannot_be_trained_does_not_stop_the_others(world, compare):
    broken = '[[variant]]\nlabel = "broken"\nmodel = "cca"\nratios = [0.01]\n'
    for jobs in (1, 2):
        path = world.config(
            f'models = ["cca"]\nratios = [0.5]\nseeds = [0, 1]\n{broken}', name=f"jobs{jobs}.toml"
        )
        code, out, err = compare(path, "--jobs", jobs)
        assert code == 3
        reason = "there is one annotated image alone"
        assert f"broken, 1 %, seed 0: could not be trained: {reason}" in err
        assert f"error: broken, 1 %, seed 1: {reason}" in err
        # Of what plays a part here: the ratio is the file's, and `train` is not called.
        assert "a larger ratio" in err
        assert "weaksup subsample" not in err
        assert "--set" not in err
        assert "Traceback" not in err
        assert [r["label"] for r in world.results(f"jobs{jobs}")] == ["cca", "cca"]
        assert "results.md" in out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('precision = "fp16"', "precision fp16 needs a GPU"),
        ('device = "cuda:77"', "device cuda:77 is not here"),
    ],
)
def test_what_this_machine_lacks_is_said_before_the_first_cell(world, compare, setting, message):
    path = world.config(
        f'models = ["cca"]\nratios = [0.5]\nseeds = [0]\n'
        f'[[variant]]\nlabel = "other"\nmodel = "cca"\nset.{setting}\n'
    )
    captions = world.captions()
    code, out, err = compare(path, captions=captions)
    assert (code, out) == (2, "")
    assert f"one setting is wrong:\n  other: {message}" in err
    assert "--set" not in err
    assert not list(world.reports().rglob("cell.json"))
    # What is not asked for may be of another machine.
    assert compare(path, "--only", "cca", captions=captions)[0] == 0


def test_all_that_this_machine_lacks_is_said_at_once(world, compare):
    path = world.config(
        'models = ["cca"]\nratios = [0.5, 1.0]\nseeds = [0, 1]\n'
        '[[variant]]\nlabel = "half"\nmodel = "cca"\nset.precision = "fp16"\n'
        '[[variant]]\nlabel = "far"\nmodel = "cca"\nset.device = "cuda:77"\n'
    )
    code, out, err = compare(path, captions=world.captions())
    assert (code, out) == (2, "")
    assert (
        "2 settings are wrong:\n  half: precision fp16 needs a GPU\n  far: device cuda:77 " in err
    )
    assert "hint: use the setting precision=bf16 or fp32 on a CPU; use the setting device=" in err


def test_without_matplotlib_all_but_the_plots_is_there(asked, world, compare, monkeypatch):
    path, captions = asked
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what import finds if it is missing
    code, out, err = compare(path, captions=captions)
    assert code == 4
    assert "pip install 'weaksup[plots]'" in err
    assert len(world.results()) == 10
    assert "results.md" in out
    assert not list(world.reports().glob("*.png"))
    assert compare(path, "--no-plots", captions=captions)[0] == 0


@pytest.mark.parametrize(
    ("text", "words", "code", "message"),
    [
        ('models = ["cc"]', (), 2, "unknown model 'cc'"),
        ('models = ["cca"]\nhold_out = 24', (), 2, "leaves none of the 24"),
        ('models = ["cca"]\nprotocols = ["folds-1k"]', (), 2, "defined for 5,000 images"),
        ('models = ["cca"]', ("--jobs", "0"), 2, "'--jobs': 0"),
    ],
)
def test_what_is_refused(world, compare, text, words, code, message):
    got, out, err = compare(world.config(text), *words)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert not (world.workspace / "reports").exists()


def test_without_a_store_extract_is_named(tmp_path, world, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(
            ["compare", str(world.config('models = ["cca"]')), "--captions", str(world.captions())]
        )
    assert end.value.code == 3
    assert "weaksup extract --images DIR" in capsys.readouterr().err
