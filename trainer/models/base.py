"""What every retrieval model offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from trainer.encoders import Encoded
from trainer.inputs import RegionInputs, Standardizer
from trainer.text import TokenBatch


class EmbeddingModel(nn.Module, ABC):
    """Two towers into one space, compared by cosine."""

    standardizer: Standardizer
    """What region features pass first; its statistics are set before training."""

    @abstractmethod
    def encode_images(self, regions: RegionInputs) -> Encoded:
        """Embed a batch of images."""

    @abstractmethod
    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        """Embed a batch of sentences."""
