from __future__ import annotations

import pytest
import torch

from trainer.text import PAD, UNKNOWN, Vocabulary, pad, tokenize


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A Dog, running!", ["a", "dog", "running"]),
        ("it's the man’s hat", ["it's", "the", "man's", "hat"]),
        ("red-haired_girl 2", ["red", "haired", "girl", "2"]),
        ("Ein Mädchen läuft", ["ein", "mädchen", "läuft"]),
        ("...", []),
    ],
)
def test_tokenize(sentence, words):
    assert tokenize(sentence) == words


def test_vocabulary_counts_words_and_always_has_concepts():
    vocabulary = Vocabulary.build(["a dog", "a cat", "one dog"], min_count=2)
    vocabulary = vocabulary.with_names(["traffic light"])
    assert vocabulary.words == ("<pad>", "<unk>", "a", "dog", "light", "traffic")
    assert len(vocabulary) == 6
    assert vocabulary.encode("A dog and a cat") == [2, 3, UNKNOWN, 2, UNKNOWN]


def test_vocabulary_does_not_depend_on_the_order_of_captions():
    captions = ["b a", "c b", "a c d"]
    built = [Vocabulary.build(order, min_count=1).words for order in (captions, captions[::-1])]
    assert built[0] == built[1]


def test_the_special_rows_are_no_words():
    vocabulary = Vocabulary.build(["pad unk"], min_count=1)
    assert vocabulary.encode("<pad> <unk>") == [2, 3]


def test_a_sentence_without_words_is_one_unknown_word():
    assert Vocabulary([]).encode("?!") == [UNKNOWN]


def test_pad():
    batch = pad([[2, 3, 4], [5]])
    assert batch.ids.tolist() == [[2, 3, 4], [5, PAD, PAD]]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.ids.dtype == batch.lengths.dtype == torch.int64
    assert pad([]).ids.shape == (0, 0)
