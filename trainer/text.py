"""Words: tokenising, the training vocabulary, padded batches of token ids.

Letters: B sentences, T tokens of the longest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PAD, UNKNOWN = 0, 1
_SPECIALS = ("<pad>", "<unk>")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def tokenize(sentence: str) -> list[str]:
    """Lower-case words; punctuation is dropped, ``it's`` stays whole."""
    return _WORD.findall(sentence.lower().replace("’", "'"))


class Vocabulary:
    """Words that the model knows. Rows 0 and 1 are padding and the unknown word.

    Args:
        words: without the specials, in row order.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*_SPECIALS, *words)
        self._rows = {word: row for row, word in enumerate(self.words)}

    @classmethod
    def build(cls, captions: Iterable[str], *, min_count: int = 2) -> Vocabulary:
        """Collect words.

        Args:
            captions: the kept training captions, and nothing else: a word of any other caption
                would leak it.
            min_count: rarer words become unknown.
        """
        counts = Counter(word for caption in captions for word in tokenize(caption))
        return cls(sorted(word for word, count in counts.items() if count >= min_count))

    def with_names(self, names: Iterable[str]) -> Vocabulary:
        """This vocabulary and the words of concept names, which are in whatever their count."""
        words = self.words[len(_SPECIALS) :]
        return Vocabulary(sorted({*words, *(word for name in names for word in tokenize(name))}))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, sentence: str) -> list[int]:
        """Rows of the sentence's words; never empty (an empty one is one unknown word)."""
        return [self._rows.get(word, UNKNOWN) for word in tokenize(sentence)] or [UNKNOWN]


@dataclass(frozen=True)
class TokenBatch:
    """Padded sentences.

    Attributes:
        ids: (B, T) int64 rows of the vocabulary, 0 as padding at the end.
        lengths: (B,) int64, at least 1.
    """

    ids: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, T) bool, true where there is a word."""
        return self.ids != PAD

    def to(self, device: torch.device) -> TokenBatch:
        return TokenBatch(
            self.ids.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True)
        )

    def pin_memory(self) -> TokenBatch:
        return TokenBatch(self.ids.pin_memory(), self.lengths.pin_memory())


def pad(sentences: Sequence[Sequence[int]]) -> TokenBatch:
    """Bring sentences of token rows to one length."""
    lengths = torch.tensor([len(sentence) for sentence in sentences], dtype=torch.int64)
    ids = torch.zeros(
        len(sentences), int(lengths.max()) if len(sentences) else 0, dtype=torch.int64
    )
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = torch.tensor(sentence, dtype=torch.int64)
    return TokenBatch(ids, lengths)
