"""``weaksup compare`` as a user calls it: results, resuming, refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipelines.compare.results import read_ranks
from trainer.config import MODEL_NAMES
from trainer.evaluate import evaluate_images
from trainer.metrics import recall_metrics, rsum
from trainer.run import load_run
from weaksup.cli import main
from weaksup.corpora import read_annotations

CONFIG = """
models = ["cca", "a3vse"]
ratios = [0.5, 1.0]
seeds = [0, 1]
hold_out = 5
[[variant]]
label = "a3vse, no adversary"
model = "a3vse"
ratios = [0.5]
set.w_adv = 0
"""
LABELS = ["cca", "a3vse", "a3vse, no adversary"]


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def figures(records):
    """What must not depend on how a comparison was run."""
    varying = ("seconds", "steps_per_second")
    return [{k: v for k, v in record.items() if k not in varying} for record in records]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_world):
    """A comparison that is done, in a process of its own: its folder and what was printed."""
    world = make_world(tmp_path_factory.mktemp("finished"))
    path, captions = world.config(CONFIG), world.captions()
    # One thread, as each of two processes has below: others would round otherwise.
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    end = subprocess.run(command(world, path, captions), capture_output=True, text=True, env=alone)
    assert end.returncode == 0, end.stderr
    return world.folder, end.stdout, end.stderr


@pytest.fixture
def done(finished, world):
    """A copy of it: the file, the captions, and what was printed."""
    folder, out, err = finished
    shutil.copytree(folder, world.folder, dirs_exist_ok=True)
    out = out.replace(str(folder), str(world.folder))
    return world.folder / "small.toml", world.folder / "captions-0.csv", out, err


def command(world, path, captions, *words):
    """What runs a comparison in a process of its own."""
    words = (
        *(sys.executable, "-m", "pipelines.compare", path, "--workspace", world.workspace),
        *("--regions", world.regions, "--captions", captions, *words),
    )
    return [str(word) for word in words]


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


def test_what_is_done_is_not_done_again(done, world, compare):
    path, captions, out, _ = done
    before = stamps(world.reports() / "cells")
    results = (world.reports() / "results.jsonl").read_bytes()
    code, again, err = compare(path, captions=captions)
    assert (code, again) == (0, out)
    assert "9 trainings, 9 of them done before" in err
    assert stamps(world.reports() / "cells") == before
    assert (world.reports() / "results.jsonl").read_bytes() == results


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("ranks.npz", lambda content: content[:100]),  # as a full disk leaves it
        ("ranks.npz", lambda content: b""),
        ("ranks.npz", lambda content: b"junk"),
        ("ranks.npz", lambda content: content[: len(content) // 2]),
        ("ranks.npz", flipped),
        ("cell.json", lambda content: b"junk"),
        ("cell.json", lambda content: content.replace(b'"record"', b'"recorded"')),
        ("cell.json", lambda content: content.replace(b'"rsum"', b'"rsun"')),
    ],
)
def test_a_damaged_cell_is_done_again_and_named(done, world, compare, name, damage):
    path, captions, out, _ = done
    before = figures(world.results())
    file = world.reports() / "cells/a3vse-0.5-0" / name
    file.write_bytes(damage(file.read_bytes()))
    code, again, err = compare(path, captions=captions)
    assert (code, again) == (0, out), err
    assert f"a3vse, 50 %, seed 0: done again, its {name} is damaged\n" in err
    assert err.count("done again") == 1
    assert "9 trainings, 8 of them done before" in err
    assert figures(world.results()) == before


def test_a_damaged_cell_whose_run_was_discarded_says_that_it_is_trained_again(done, world, compare):
    path, captions, _, _ = done
    assert compare(path, "--discard-runs", captions=captions)[0] == 0
    (world.reports() / "cells/cca-0.5-0/ranks.npz").unlink()
    code, _, err = compare(path, captions=captions)
    assert code == 0, err
    assert "cca, 50 %, seed 0: done again, its ranks.npz is missing\n" in err


def test_what_was_begun_and_is_damaged_says_that_it_is_begun_anew(done, world, compare):
    path, captions, _, _ = done
    folder = world.reports() / "cells/cca-0.5-0"
    (folder / "cell.json").unlink()
    (folder / "progress.json").write_text('{"fingerprint": ')
    code, _, err = compare(path, captions=captions)
    assert code == 0, err
    assert "cca, 50 %, seed 0: done again, its progress.json is damaged\n" in err


def test_what_was_begun_goes_on_without_a_word(done, world, compare):
    path, captions, _, _ = done
    (world.reports() / "cells/cca-0.5-0/cell.json").unlink()
    code, _, err = compare(path, captions=captions)
    assert code == 0, err
    assert "done again" not in err
    assert "9 trainings, 8 of them done before" in err


def test_what_is_left_out_is_named_with_what_does_it_again(done, world, compare):
    path, captions, _, _ = done
    cells = world.reports() / "cells"
    for name in ("a3vse-no-adversary-0.5-0", "cca-1.0-0"):
        (cells / name / "ranks.npz").write_bytes(b"junk")
    before = stamps(cells)
    code, _, err = compare(path, "--only", "a3vse", captions=captions)
    assert code == 0, err
    left_out = "50 %, seed 0: left out, its ranks.npz is damaged"
    assert f"{LABELS[2]}, {left_out}; `--only '{LABELS[2]}'` does it again\n" in err
    assert "cca, 100 %, seed 0: left out, its ranks.npz is damaged; `--only cca` does it" in err
    assert err.count("left out") == 2  # a line a training
    assert stamps(cells) == before
    assert len(world.results()) == 10 - 3
    code, _, err = compare(path, "--only", LABELS[2], "--only", "cca", captions=captions)
    assert code == 0, err
    assert len(world.results()) == 10


@pytest.mark.parametrize("name", ["cell.json", "ranks.npz", "progress.json"])
@pytest.mark.parametrize("only", [(), ("--only", "a3vse")])
def test_what_cannot_be_read_ends_the_command_and_stays(done, world, compare, name, only):
    path, captions, _, _ = done
    folder = world.reports() / "cells/cca-0.5-0"
    if name == "progress.json":
        (folder / "cell.json").unlink()  # it is read of what is not done
    (folder / name).unlink()
    (folder / name).symlink_to(name)  # no user can read it, not even an administrator
    before = stamps(world.reports())
    code, out, err = compare(path, *only, captions=captions)
    assert (code, out) == (3, "")
    assert f"error: {folder / name} cannot be read: Too many levels of symbolic links" in err
    assert "Traceback" not in err
    assert stamps(world.reports()) == before


def test_no_cell_is_read_more_often_for_those_that_come_after_it(world, compare):
    path = world.config('models = ["cca"]\nratios = [0.5]\nseeds = [0, 1, 2, 3, 4]\n')
    captions = world.captions()
    with opened_files() as opened:
        code, _, err = compare(path, captions=captions)
    assert code == 0, err
    times = Counter(file.parent.name for file in opened if file.name == "ranks.npz")
    assert len(times) == 5
    assert len(set(times.values())) == 1, times


@contextmanager
def opened_files():
    """Every file that this process opens meanwhile."""
    opened: list[Path] = []
    watching = True

    def note(event, arguments):  # it can be switched off, and not be taken away
        if watching and event == "open" and isinstance(arguments[0], str):
            opened.append(Path(arguments[0]))

    sys.addaudithook(note)
    try:
        yield opened
    finally:
        watching = False


def test_other_settings_do_their_cells_again(done, world, compare):
    path, captions, _, _ = done
    before = stamps(world.reports() / "cells")
    world.config(CONFIG.replace("set.w_adv = 0", "set.w_adv = 0.1"))
    code, _, err = compare(path, captions=captions)
    assert code == 0
    assert "9 trainings, 7 of them done before" in err
    assert "a3vse, no adversary, 50 %, seed 0: done again, made before from other settings" in err
    after = stamps(world.reports() / "cells")
    changed = {path.parent.name for path in after if after[path] != before.get(path)}
    assert changed == {"a3vse-no-adversary-0.5-0", "a3vse-no-adversary-0.5-1"}
    assert world.results()[2]["set"] == {"w_adv": 0.1}


def test_other_captions_do_everything_again(done, world, compare):
    path, _, _, _ = done
    before = [r["rsum"] for r in world.results()]
    other = world.captions(says={f"train/{n}.jpg": "something else" for n in range(12)})
    code, _, err = compare(path, captions=other)
    assert code == 0
    assert err.count("made before from other captions") == 9
    assert [r["rsum"] for r in world.results()] != before


def test_only_some_labels(world, compare):
    path, captions = world.config(CONFIG), world.captions()
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
    _, captions, _, _ = done
    monkeypatch.setattr("pipelines.compare.workers.processors", lambda: 2)
    path = world.config(CONFIG, name="parallel.toml")
    code, _, err = compare(path, "--jobs", 2, captions=captions)
    assert code == 0, err
    assert err.count("/9] ") == 9
    assert figures(world.results("parallel")) == figures(world.results())


def test_runs_can_be_discarded(done, world, compare):
    path, captions, out, _ = done
    before = figures(world.results())
    code, again, err = compare(path, "--discard-runs", captions=captions)
    assert code == 0, err
    files = {p.name for p in (world.reports() / "cells").rglob("*") if p.is_file()}
    assert files == {"cell.json", "ranks.npz"}
    # Intervals too: they come from the ranks.
    assert again == out
    assert compare(path, captions=captions)[1] == out
    assert figures(world.results()) == before


def test_a_run_that_was_discarded_says_so(done, world, compare, capsys):
    path, captions, _, _ = done
    assert compare(path, "--discard-runs", captions=captions)[0] == 0
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "--run", str(world.reports() / "cells/cca-0.5-0")])
    assert end.value.code == 3
    err = capsys.readouterr().err
    assert "cca-0.5-0 was discarded: its comparison has kept the figures alone" in err
    assert "--discard-runs" in err


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


def test_without_matplotlib_all_but_the_plots_is_there(world, compare, monkeypatch):
    path, captions = world.config(CONFIG), world.captions()
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


LONG = 'models = ["a3vse"]\nratios = [0.5]\nseeds = [0, 1]\n'
EPOCHS = ("epochs = 1\n", "epochs = 20\n")


@pytest.fixture
def start(world):
    """Start a long comparison in a process of its own, and wait until it is in the middle."""
    path, captions = world.config(LONG), world.captions()
    path.write_text(path.read_text().replace(*EPOCHS))
    processes = []

    def begin(*words, cell="a3vse-0.5-0"):
        process = subprocess.Popen(
            command(world, path, captions, *words),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        metrics = world.reports() / "cells" / cell / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not metrics.exists() or metrics.read_text().count("\n") < 12:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return process

    yield begin, path, captions
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "number", "everybody"),
    # A terminal sends Ctrl-C to all processes of a group, `kill` to one.
    [(1, signal.SIGTERM, False), (2, signal.SIGINT, True)],
)
def test_an_interrupted_comparison_goes_on(start, world, compare, jobs, number, everybody):
    begin, path, captions = start
    process = begin("--jobs", jobs)
    if everybody:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "interrupted; what was done so far is kept" in message
    assert "Traceback" not in message
    cells = world.reports() / "cells"
    assert (cells / "a3vse-0.5-0/last.pt").exists()
    assert not (cells / "a3vse-0.5-0/cell.json").exists()
    spent = json.loads((cells / "a3vse-0.5-0/progress.json").read_text())["seconds"]
    code, _, err = compare(path, "--jobs", jobs, captions=captions)
    assert code == 0, err
    assert world.results()[0]["seconds"] > spent > 0
    # As if it had never been interrupted.
    whole = path.with_name("whole.toml")
    whole.write_text(path.read_text())
    assert compare(whole, captions=captions)[0] == 0
    assert figures(world.results("whole")) == figures(world.results())
    for cell in ("a3vse-0.5-0", "a3vse-0.5-1"):
        weights = [
            (world.reports(name) / "cells" / cell / "model.safetensors").read_bytes()
            for name in ("small", "whole")
        ]
        assert weights[0] == weights[1]
        steps = (world.reports() / "cells" / cell / "metrics.jsonl").read_text().splitlines()
        numbers = [json.loads(s)["step"] for s in steps if json.loads(s)["kind"] == "step"]
        assert numbers == list(range(1, len(numbers) + 1))


def test_two_processes_do_not_write_one_comparison(start, world, compare):
    begin, path, captions = start
    process = begin()
    process.send_signal(signal.SIGSTOP)
    code, out, err = compare(path, captions=captions)
    process.send_signal(signal.SIGCONT)
    assert (code, out) == (2, "")
    assert "another process is comparing in" in err
    assert "another `name`" in err


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_apart_from_a_result(start, world, compare):
    begin, path, captions = start
    process = begin("--jobs", 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("no /proc to find the workers in")
    for child in children.read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)
            break
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "has ended with -9" in message
    assert "fewer --jobs" in message
    assert compare(path, captions=captions)[0] == 0
    assert len(world.results()) == 2
