"""Means, spreads, references and ablations, and the tables of them."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from pipelines.compare.config import load_comparison
from pipelines.compare.plan import plan_cells
from pipelines.compare.results import Done, write_cell
from pipelines.compare.summary import summarize
from pipelines.compare.table import duration, make_markdown, make_sheets, signed
from trainer.evaluate import evaluate_embeddings
from trainer.metrics import bootstrap_difference

IMAGES = 80
# How good each model is: the noise on its embeddings.
NOISE = {"cca": 1.9, "vsepp": 3.0, "a3vse": 0.8, "a3vse, less": 1.3}
CONFIG = """
models = ["cca", "vsepp", "a3vse"]
ratios = [0.1, 0.5]
seeds = [0, 1, 2]
[[variant]]
label = "a3vse, less"
model = "a3vse"
ratios = [0.5]
seeds = [0, 2]
set.w_adv = 0
"""


def evaluate(label, ratio, seed):
    """Noisy embeddings of a gallery that all models share."""
    generator = np.random.default_rng(5)
    images = generator.normal(size=(IMAGES, 12))
    owner = np.repeat(np.arange(IMAGES), generator.integers(1, 4, size=IMAGES))
    generator = np.random.default_rng([*label.encode(), seed, int(100 * ratio)])
    noise = NOISE[label] / ratio**0.5 / 2
    texts = images[owner] + generator.normal(scale=noise, size=(len(owner), 12))
    return evaluate_embeddings(images, texts, owner)


@pytest.fixture
def comparison(tmp_path):
    def load(text=CONFIG):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return load_comparison(path)

    return load


def finish(comparison, folder):
    """All cells of a comparison, as if models of known quality had been trained."""
    results = []
    for cell in plan_cells(comparison):
        evaluation = evaluate(cell.label, cell.ratio, cell.seed)
        place = folder / cell.folder
        place.mkdir(parents=True, exist_ok=True)
        record = {
            **{"protocol": "full", "seconds": 60.0 + cell.seed, "annotated_images": 7},
            **{"rsum": evaluation.rsum, "image_to_text": evaluation.image_to_text},
            **{"text_to_image": evaluation.text_to_image, "images": IMAGES, "split": "test"},
        }
        write_cell(place, fingerprint={}, record=record, evaluations={"full": evaluation})
        results.append(Done(cell, record, place))
    return results


@pytest.fixture
def done(comparison, tmp_path):
    return finish(comparison(), tmp_path)


def row(summary, label, ratio):
    (found,) = [i for i in summary.rows if (i.row.label, i.row.ratio) == (label, ratio)]
    return found


def test_a_row_is_the_mean_and_the_spread_of_its_seeds(comparison, done):
    found = row(summarize(comparison(), done, "full"), "cca", 0.5).row
    evaluations = [evaluate("cca", 0.5, seed) for seed in (0, 1, 2)]
    rsums = [e.rsum for e in evaluations]
    assert found.rsum.mean == pytest.approx(statistics.mean(rsums))
    assert found.rsum.sd == pytest.approx(statistics.stdev(rsums))
    for direction in ("image_to_text", "text_to_image"):
        for name in ("R@1", "R@5", "R@10"):
            values = [getattr(e, direction)[name] for e in evaluations]
            assert found.recalls[direction][name].mean == pytest.approx(np.mean(values))
            assert found.recalls[direction][name].sd == pytest.approx(np.std(values, ddof=1))
    assert (found.seeds, found.seconds) == ((0, 1, 2), 61.0)


def test_the_summary_names_what_was_compared_on_which_images(comparison, done):
    summary = summarize(comparison(), done, "full")
    assert (summary.name, summary.images) == ("mine", "80 test images")
    assert summarize(comparison(), [], "full").images == ""


def test_one_seed_has_no_spread(comparison, done):
    one = [item for item in done if item.cell.seed == 1]
    assert all(i.row.rsum.sd is None for i in summarize(comparison(), one, "full").rows)


def test_others_are_compared_with_the_best_baseline(comparison, done):
    summary = summarize(comparison(), done, "full")
    assert {i.reference for i in summary.rows} == {"", "cca"}
    assert row(summary, "cca", 0.5).difference is None
    ranks = {
        label: [evaluate(label, 0.5, seed).folds for seed in (0, 2)]
        for label in ("cca", "a3vse, less")
    }
    found = row(summary, "a3vse, less", 0.5)
    # Over the seeds that both have.
    assert found.seeds == 2
    assert found.difference == bootstrap_difference(ranks["a3vse, less"], ranks["cca"])
    assert found.difference.low > 0
    assert row(summary, "vsepp", 0.5).difference.high < 0


def test_the_reference_can_be_named(comparison, done):
    summary = summarize(comparison('reference = "a3vse"' + CONFIG), done, "full")
    assert {i.reference for i in summary.rows} == {"", "a3vse"}
    # It may be missing while the comparison is under way.
    rest = [item for item in done if item.cell.label != "a3vse"]
    summary = summarize(comparison('reference = "a3vse"' + CONFIG), rest, "full")
    assert {(i.reference, i.difference) for i in summary.rows} == {("", None)}


def test_without_a_seed_in_common_there_is_no_difference(comparison, done):
    some = [i for i in done if (i.cell.seed == 0) == (i.cell.label == "cca")]
    found = row(summarize(comparison(), some, "full"), "a3vse", 0.5)
    assert (found.reference, found.difference) == ("cca", None)


def test_an_ablation_is_compared_with_its_own_model(comparison, done):
    summary = summarize(comparison(), done, "full")
    plain, variant = summary.ablations
    assert (plain.row.label, plain.row.ratio, plain.difference) == ("a3vse", 0.5, None)
    assert (variant.row.label, variant.reference) == ("a3vse, less", "a3vse")
    assert variant.difference.points < 0


def test_markdown_holds_what_the_terminal_shows(comparison, done):
    summary = summarize(comparison(), done, "full")
    page = make_markdown("mine", ["a note"], [summary])
    assert page.startswith("# mine\n\n- a note\n\n## 10 % of the captions (7 images)\n\n| model |")
    for sheet in make_sheets(summary):
        for line in sheet.rows:
            assert "| " + " | ".join(line) + " |\n" in page
    found = row(summary, "a3vse", 0.1)
    assert f"{found.row.rsum.mean:.1f} ± {found.row.rsum.sd:.1f}" in page
    assert f"| {found.difference.points:+.1f} | {found.difference.low:+.1f} to " in page
    # Every line of a table has as many cells as its header.
    assert "Differences are over the seeds that both lines have" in page
    for table in page.split("## ")[1:]:
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1


def test_durations_read_at_a_glance():
    shown = [duration(seconds) for seconds in (1.84, 11.4, 250, 9000)]
    assert shown == ["1.8 s", "11 s", "4.2 min", "2.5 h"]


def test_differences_have_a_sign_and_zero_has_none():
    assert [signed(value) for value in (1.26, -0.04, 0.04, -0.06)] == [
        "+1.3",
        "0.0",
        "0.0",
        "-0.1",
    ]
