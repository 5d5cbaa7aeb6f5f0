from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.semantics import read_semantics


def naive_phrases(store, row, threshold, attributes):
    regions = store.regions(row)
    phrases = []
    for place in range(len(regions)):
        if regions.objects[place] < 0 or regions.scores[place] < threshold:
            continue
        words = [store.attributes[a] for a in regions.attributes[place] if a >= 0 and attributes]
        phrase = " ".join([*words, store.objects[regions.objects[place]]])
        if phrase not in phrases:
            phrases.append(phrase)
    return phrases


@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_phrases_and_concepts_against_a_loop(world, attributes, threshold):
    store = world.store()
    rows = np.array([4, 1, 17, 9])
    found = read_semantics(store, rows, threshold=threshold, attributes=attributes)
    assert found.phrases == [naive_phrases(store, row, threshold, attributes) for row in rows]
    plain = [set(naive_phrases(store, row, threshold, False)) for row in rows]
    assert found.concepts.tolist() == [
        [float(name in said) for name in store.objects] for said in plain
    ]
    for concept, name in enumerate(store.objects):
        images = sum(name in said for said in plain)
        assert found.weights[concept] == pytest.approx(math.log(4 / max(images, 1)), abs=1e-6)


def test_an_image_whose_regions_are_all_unsure_says_nothing(world):
    found = read_semantics(world.store(), np.array([0]), threshold=1.0, attributes=False)
    assert found.phrases == [[]]
    assert not found.concepts.any()
