from __future__ import annotations

from trainer.lexicon import concept_columns, stem_columns

WORDS = ("<pad>", "<unk>", "dog", "dogs", "run", "running", "red")


def test_inflections_are_counted_as_the_first_of_them():
    assert stem_columns(WORDS).tolist() == [0, 1, 2, 2, 4, 4, 6]


def test_a_concept_stands_for_the_stems_of_its_words():
    found = concept_columns([("puppy", "dogs"), ("reds", "runs"), ("zebra",)], WORDS)
    assert found.shape == (3, 7)
    assert [list(row.nonzero()[0]) for row in found] == [[2], [4, 6], []]
