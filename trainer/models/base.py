"""What every retrieval model offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from trainer.encoders import Encoded
from trainer.inputs import RegionInputs, Standardizer
from trainer.text import TokenBatch


class EmbeddingModel(nn.Module, ABC):
    """Two towers into one space, compared by cosine.

    ``encode_*`` is what is trained; ``embed_*`` what is searched and evaluated. They differ in a
    model that has further towers, which are not trained by gradients.

    Letters: B batch, V concepts of the evidence, d embedding width.
    """

    standardizer: Standardizer
    """What region features pass first; its statistics are set before training."""

    slack: int = 0
    """How many last columns of an embedding only complete its length: they say nothing of what it
    shows, and have no part in comparing images with images or sentences with sentences."""

    @abstractmethod
    def encode_images(self, regions: RegionInputs) -> Encoded:
        """Encode a batch of images."""

    @abstractmethod
    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        """Encode a batch of sentences."""

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
