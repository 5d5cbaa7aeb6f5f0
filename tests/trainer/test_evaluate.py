from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from trainer.evaluate import (
    choose_split,
    evaluate_embeddings,
    evaluate_images,
    evaluate_protocols,
    evaluate_scores,
    write_evaluation,
)
from trainer.metrics import recall_metrics, rsum
from trainer.ranking import rank_embeddings, rank_scores
from trainer.reranking import RerankOptions, rerank
from trainer.run import load_run
from weaksup.errors import UsageError

METRICS = {"R@1", "R@5", "R@10", "median_rank", "mean_rank"}


def gallery(images, noise=2.0, width=16, seed=0):
    """One to three captions an image, shuffled."""
    generator = np.random.default_rng(seed)
    owner = generator.permutation(
        np.repeat(np.arange(images), generator.integers(1, 4, size=images))
    )
    rows = generator.standard_normal((images, width), dtype=np.float32)
    texts = rows[owner] + noise * generator.standard_normal((len(owner), width), dtype=np.float32)
    return rows, texts, owner


def test_the_report_has_the_names_of_the_contract():
    rows, texts, owner = gallery(30)
    result = evaluate_embeddings(rows, texts, owner)
    report = result.report(split="val", model="cca", run="cca-0")
    assert set(report) == {
        *("image_to_text", "text_to_image", "rsum", "images", "captions", "protocol"),
        *("split", "model", "run"),
    }
    assert set(report["image_to_text"]) == set(report["text_to_image"]) == METRICS
    assert (report["images"], report["captions"]) == (30, len(owner))
    assert (report["split"], report["model"], report["run"]) == ("val", "cca", "cca-0")
    assert report["rsum"] == rsum(result.image_to_text, result.text_to_image)


def test_directions_are_not_swapped():
    # Two images, one of them with every caption: seen from the text side one image always wins.
    images = np.array([[1.0, 0.0], [0.0, 1.0]])
    texts = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.5]])
    result = evaluate_embeddings(images, texts, [0, 0, 1])
    assert result.text_to_image["mean_rank"] == pytest.approx(4 / 3)
    assert result.image_to_text["mean_rank"] == 1.5  # ranks 2 (a tie) and 1


@pytest.mark.parametrize("images", [10, 5000])
def test_auto_is_full_whatever_the_size(images):
    rows, texts, owner = gallery(images, width=8)
    auto = evaluate_embeddings(rows, texts, owner, protocol="auto")
    full = evaluate_embeddings(rows, texts, owner, protocol="full")
    assert auto.protocol == "full"
    assert auto.report(split="", model="", run="") == full.report(split="", model="", run="")


def test_folds_are_the_mean_of_five_sequential_thousands():
    rows, texts, owner = gallery(5000, width=8)
    result = evaluate_embeddings(rows, texts, owner, protocol="folds-1k")
    expected = []
    for fold in range(5):
        inside = owner // 1000 == fold
        ranks = rank_embeddings(
            rows[fold * 1000 : fold * 1000 + 1000], texts[inside], owner[inside] % 1000
        )
        expected.append(recall_metrics(ranks.text_to_image))
    for name in METRICS:
        assert result.text_to_image[name] == pytest.approx(np.mean([f[name] for f in expected]))
    assert result.protocol == "folds-1k"
    assert (result.images, result.captions, len(result.folds)) == (5000, len(owner), 5)
    assert result.rsum > evaluate_embeddings(rows, texts, owner).rsum


class Matrix:
    """Scores that are known, as PairScores gives them."""

    def __init__(self, scores):
        self.scores, self.images = scores, range(len(scores))
        self.image_class, self.caption_class = map(np.arange, scores.shape)

    def __call__(self, images, captions):
        return self.scores[np.ix_(images, captions)]


@pytest.mark.parametrize(("images", "protocol"), [(30, "auto"), (5000, "folds-1k")])
def test_scores_are_evaluated_as_embeddings_are(images, protocol):
    rows, texts, owner = gallery(images, width=4)
    found = evaluate_scores(Matrix(rows @ texts.T), owner, protocol=protocol)
    expected = evaluate_embeddings(rows, texts, owner, protocol=protocol)
    one, other = (result.report(split="", model="", run="") for result in (found, expected))
    assert one == other


def test_a_model_that_compares_pairs_is_ranked_by_its_pairs(world, tiny, tmp_path):
    world.train(tiny("scan", epochs=1), tmp_path / "scan")
    run, store = load_run(tmp_path / "scan"), world.store()
    images = choose_split(world.corpus(), store, "val").images
    result = evaluate_images(run, store, images)
    captions = [caption for image in images for caption in image.captions]
    owner = np.repeat(np.arange(len(images)), [len(image.captions) for image in images])
    scores = run.pair_scores(store, np.array([store.index(i.id) for i in images]), captions)
    expected = rank_scores(
        lambda rows, columns: scores(rows, columns),
        owner,
        images=len(images),
        image_class=scores.image_class,
        caption_class=scores.caption_class,
    )
    assert result.folds[0].text_to_image.tolist() == expected.text_to_image.tolist()
    assert result.folds[0].image_to_text.tolist() == expected.image_to_text.tolist()
    assert (result.images, result.captions) == (len(images), len(captions))


@pytest.fixture
def a3vse(world, tiny, tmp_path):
    world.train(tiny("a3vse", epochs=1), tmp_path / "a3vse")
    return load_run(tmp_path / "a3vse")


def test_the_top_of_every_list_is_re_ranked_by_cross_attention(world, a3vse):
    store, options = world.store(), RerankOptions(top=3, weight=0.7)
    images = choose_split(world.corpus(), store, "val").images
    plain = evaluate_images(a3vse, store, images)
    result = evaluate_images(a3vse, store, images, rerank_options=options)
    assert replace(result, rerank=None).report(split="", model="", run="") == plain.report(
        split="", model="", run=""
    )
    captions = [caption for image in images for caption in image.captions]
    owner = np.repeat(np.arange(len(images)), [len(image.captions) for image in images])
    rows = np.array([store.index(image.id) for image in images])
    scores = a3vse.pair_scores(store, rows, captions)
    whole = scores(np.arange(len(images)), np.arange(len(captions)))
    expected = rerank(
        a3vse.encode_images(store, rows),
        a3vse.encode_texts(captions),
        owner,
        second=lambda i, c: whole[i, c],
        top=3,
        weight=0.7,
    )
    found = result.rerank
    assert found.folds[0].text_to_image.tolist() == expected.ranks.text_to_image.tolist()
    assert found.folds[0].image_to_text.tolist() == expected.ranks.image_to_text.tolist()
    assert found.gain == found.rsum - plain.rsum
    assert found.pairs == expected.pairs
    report = result.report(split="val", model="a3vse", run="a3vse")["rerank"]
    assert (report["top"], report["weight"], report["rsum"]) == (3, 0.7, found.rsum)
    assert report["queries_per_second"] == (len(images) + len(captions)) / report["seconds"]


@pytest.mark.parametrize("name", ["cca", "vsepp", "scan"])
def test_models_that_have_nothing_to_re_rank_by_say_so(world, tiny, tmp_path, name):
    world.train(tiny(name, epochs=1), tmp_path / name)
    run, store = load_run(tmp_path / name), world.store()
    images = choose_split(world.corpus(), store, "val").images
    message = "nothing is left to re-rank" if name == "scan" else "does not compare regions"
    with pytest.raises(UsageError, match=message):
        evaluate_images(run, store, images, rerank_options=RerankOptions(top=3))


@pytest.mark.parametrize("images", [1000, 5001])
def test_folds_of_another_size_are_refused(images):
    rows, texts, owner = gallery(images, width=2)
    with pytest.raises(UsageError, match=r"5,000 images, here are") as error:
        evaluate_embeddings(rows, texts, owner, protocol="folds-1k")
    assert "--protocol full" in error.value.hint


@pytest.mark.parametrize("model", ["vsepp", "scan"])
def test_a_wrong_protocol_is_refused_before_anything_is_encoded(world, tiny, tmp_path, model):
    world.train(tiny(model, epochs=1), tmp_path / model)
    run, store = load_run(tmp_path / model), world.store()
    images = choose_split(world.corpus(), store, "val").images
    encoded = []
    for module in run.model.modules():
        module.register_forward_pre_hook(lambda *_: encoded.append(1))
    with pytest.raises(UsageError, match="folds-1k is defined for 5,000 images"):
        evaluate_protocols(run, store, images, ("full", "folds-1k"))
    assert not encoded
    assert evaluate_protocols(run, store, images, ("full",)).keys() == {"full"}
    assert encoded


def test_an_unknown_protocol_is_refused():
    with pytest.raises(UsageError, match="unknown protocol '1k'"):
        evaluate_embeddings(np.eye(2), np.eye(2), [0, 1], protocol="1k")


def test_a_report_is_written_whole(tmp_path):
    path = tmp_path / "runs" / "a" / "evaluation-val.json"
    write_evaluation(path, {"rsum": 1.5, "run": "größer"})
    write_evaluation(path, {"rsum": 2.5, "run": "größer"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"rsum": 2.5, "run": "größer"}
    assert [item.name for item in path.parent.iterdir()] == ["evaluation-val.json"]


def test_a_report_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_evaluation(tmp_path / "file" / "report.json", {})
