"""The concept tower: what is said of an image, compared with a sentence word by word.

A detector that names a surfboard needs no captions to find "a man surfs": the concept's words,
those of its synonyms and its hypernyms are looked for in the sentence. Closed form, no gradients.

What is standardised is the root of the evidence: a doubtful dog is much more than none, and a sure
one little more than that.

Letters: B batch, V concepts, W rows of the vocabulary, k width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.eigen import largest_eigenvectors
from trainer.models.tf_idf import TfIdf
from trainer.models.view import View
from trainer.text import TokenBatch

# Added to the deviation of a word's evidence: one that is hardly ever there says little.
DEVIATION_FLOOR = 0.05


class ConceptTower(nn.Module):
    """Standardised evidence for words against TF-IDF, in k dimensions.

    Args:
        sources: how many concepts each source of evidence has, in the order of the evidence.
        vocabulary_size: W.
        size: k, principal directions of the evidence that are kept.
    """

    meant: Tensor
    root_mean: Tensor
    root_deviation: Tensor
    projection: Tensor

    def __init__(self, *, sources: tuple[int, ...], vocabulary_size: int, size: int) -> None:
        super().__init__()
        self.sources = sources
        self.tf_idf = TfIdf(vocabulary_size=vocabulary_size)
        self.register_buffer("meant", torch.zeros(sum(sources), vocabulary_size, dtype=torch.bool))
        self.register_buffer("root_mean", torch.zeros(len(sources), vocabulary_size))
        self.register_buffer("root_deviation", torch.ones(len(sources), vocabulary_size))
        self.register_buffer("projection", torch.zeros(vocabulary_size, size))

    def fit(self, meant: Tensor, evidence: View, captions: TokenBatch, columns: Tensor) -> None:
        """Set the statistics.

        Args:
            meant: (V, W) bool, which words each concept stands for.
            evidence: (N, V) float32, of training images and no others; looked at twice.
            captions: the kept captions.
            columns: (W,) int64, the column in which each word is counted.
        """
        self.meant.copy_(meant)
        self.tf_idf.fit(captions, columns)
        # Of a word that no concept stands for there is never evidence.
        shown = meant.any(0)
        narrow = meant[:, shown]
        roots = View(evidence.count, evidence.width, lambda rows: evidence.rows(rows).sqrt())
        total = torch.zeros(len(self.sources), int(shown.sum()), dtype=torch.float64)
        squares = torch.zeros_like(total)
        for block in roots.blocks():
            words = self._words(block, narrow)
            total += words.sum(1, dtype=torch.float64)
            squares += words.double().square().sum(1)
        mean = total / evidence.count
        deviation = (squares / evidence.count - mean.square()).clamp_min(0).sqrt()
        self.root_mean.zero_()[:, shown] = mean.float()
        self.root_deviation.fill_(DEVIATION_FLOOR)[:, shown] += deviation.float()
        place, spread = self.root_mean[:, shown], self.root_deviation[:, shown]

        def vectors(rows: slice) -> Tensor:
            return _standardised(self._words(roots.rows(rows), narrow), place, spread)

        gram = View(evidence.count, narrow.shape[1], vectors).gram()
        axes = largest_eigenvectors(gram, min(self.projection.shape[1], len(gram)))
        self.projection.zero_()[shown, : axes.shape[1]] = axes.float()

    def evidence_for_words(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """What images are known by, word by word; two words of one stem are one.

        Args:
            evidence: (B, V) float32.

        Returns:
            (B, W) how sure the surest source is of each word, in [0, 1]; and (B, W) what is
            compared with a sentence: the same of the evidence's roots, all sources standardised
            and summed, of length 1. Its columns are those of ``tf_idf``.
        """
        sure = self._words(evidence, self.meant).amax(0)
        return sure, self._standing(evidence)

    def _standing(self, evidence: Tensor) -> Tensor:
        """(B, V) evidence -> (B, W) of length 1, what is compared with a sentence."""
        words = self._words(evidence.sqrt(), self.meant)
        return _standardised(words, self.root_mean, self.root_deviation)

    def _words(self, evidence: Tensor, meant: Tensor) -> Tensor:
        """What each source has for each word: (B, V) scores, (V, W) -> (sources, B, W).

        A word is there unless every concept that means it is absent: 1 - prod(1 - score).
        """
        absent = torch.log1p(-evidence.clamp(0, 0.999))
        parts = zip(absent.split(self.sources, dim=1), meant.split(self.sources), strict=True)
        return torch.stack([-torch.expm1(one @ words.to(one.dtype)) for one, words in parts])

    def embed_images(self, evidence: Tensor) -> Tensor:
        """(B, V) float32 -> (B, k), of length 1 at most."""
        return self._standing(evidence) @ self.projection

    def embed_texts(self, tokens: TokenBatch) -> Tensor:
        """B sentences -> (B, k), of length 1 at most: words that no concept means are lost."""
        projected: Tensor = self.tf_idf(tokens) @ self.projection
        return projected


def _standardised(words: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """(sources, B, W) evidence and its (sources, W) statistics -> (B, W), of length 1."""
    scaled = (words - mean.unsqueeze(1)) / deviation.unsqueeze(1)
    return F.normalize(scaled.sum(0), dim=-1)
