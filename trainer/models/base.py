"""What every retrieval model offers, and the two ways in which models compare.

Letters: B batch, C texts, P pairs, V concepts of the evidence, d embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from trainer.encoders import Encoded
from trainer.fragments import Fragments
from trainer.inputs import RegionInputs, Standardizer
from trainer.similarity import CrossAttention
from trainer.text import TokenBatch


class RetrievalModel(nn.Module, ABC):
    """Encoders of both sides, and what is compared in training."""

    standardizer: Standardizer
    """What region features pass first; its statistics are set before training."""

    cross_attention: CrossAttention | None = None
    """How regions and words are compared one by one; None where they lie in no common space."""

    @abstractmethod
    def encode_images(self, regions: RegionInputs) -> Encoded:
        """Encode a batch of images."""

    @abstractmethod
    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        """Encode a batch of sentences."""

    @abstractmethod
    def similarity(self, images: Encoded, texts: Encoded) -> Tensor:
        """Every image with every text: (B, C) float32, in units of cosine."""


class EmbeddingModel(RetrievalModel):
    """Two towers into one space, compared by cosine.

    ``encode_*`` is what is trained; ``embed_*`` what is searched and evaluated. They differ in a
    model that has further towers, which are not trained by gradients.
    """

    def similarity(self, images: Encoded, texts: Encoded) -> Tensor:
        return images.pooled @ texts.pooled.T

    def embed_images(self, regions: RegionInputs, evidence: Tensor) -> Tensor:
        """(B, d) float32 L2-normalised embeddings of images.

        Args:
            regions: of B images.
            evidence: (B, V) float32, as ``read_evidence`` gives it.
        """
        return self.encode_images(regions).pooled

    def embed_texts(self, tokens: TokenBatch) -> Tensor:
        """(B, d) float32 L2-normalised embeddings of sentences."""
        return self.encode_texts(tokens).pooled


class PairModel(RetrievalModel):
    """A model that compares fragment by fragment: every pair is work, and nothing is indexed."""

    cross_attention: CrossAttention

    def similarity(self, images: Encoded, texts: Encoded) -> Tensor:
        return self.cross_attention.scores(Fragments.of(images), Fragments.of(texts))
