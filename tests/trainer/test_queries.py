"""Best and worst queries, against sorting everything."""

from __future__ import annotations

import numpy as np
import pytest

from trainer import queries
from trainer.queries import image_extremes, text_extremes
from trainer.ranking import rank_embeddings

OWNER = np.repeat(np.arange(30), 3)[np.random.default_rng(5).permutation(90)]


@pytest.fixture(params=[512, 7])
def gallery(request, monkeypatch):
    monkeypatch.setattr(queries, "CHUNK", request.param)
    generator = np.random.default_rng(3)
    images = generator.normal(size=(30, 6)).astype(np.float32)
    texts = images[OWNER] + 0.9 * generator.normal(size=(90, 6)).astype(np.float32)
    return images, texts, rank_embeddings(images, texts, OWNER)


def margin(scores, right):
    return scores[right].max() - scores[~right].max()


def test_sentences(gallery):
    images, texts, ranks = gallery
    found = text_extremes(images, texts, ranks, count=4, top=5)
    margins = {
        place: margin(images @ texts[place], np.arange(30) == OWNER[place])
        for place in np.flatnonzero(ranks.text_to_image == 1)
    }
    order = sorted(margins, key=lambda place: -margins[place])
    distinct = list(dict.fromkeys(OWNER[place] for place in order))[:4]
    assert [OWNER[query.query] for query in found.best] == distinct
    assert found.best[0].query == order[0]
    worst = {}
    for place in np.argsort(-ranks.text_to_image, kind="stable"):
        worst.setdefault(OWNER[place], place)
    assert [query.query for query in found.worst] == list(worst.values())[:4]
    for query in (*found.best, *found.worst):
        scores = images @ texts[query.query]
        assert query.rank == ranks.text_to_image[query.query]
        assert list(query.results) == np.argsort(-scores)[:5].tolist()
        assert query.scores == pytest.approx(np.sort(scores)[::-1][:5])
        assert query.right == tuple(place == OWNER[query.query] for place in query.results)


def test_images(gallery):
    images, texts, ranks = gallery
    found = image_extremes(images, texts, ranks, count=3, top=4)
    margins = {
        place: margin(texts @ images[place], place == OWNER)
        for place in np.flatnonzero(ranks.image_to_text == 1)
    }
    assert [query.query for query in found.best] == sorted(margins, key=lambda p: -margins[p])[:3]
    assert [query.rank for query in found.worst] == sorted(ranks.image_to_text)[::-1][:3]
    for query in found.worst:
        assert query.right == tuple(OWNER[place] == query.query for place in query.results)


def test_a_perfect_model_has_no_worst_queries():
    images = np.eye(3, dtype=np.float32)
    ranks = rank_embeddings(images, images, np.arange(3))
    found = text_extremes(images, images, ranks, count=5, top=5)
    assert len(found.best) == 3
    assert found.worst == ()
