"""What every retrieval model offers, and the two ways in which models compare.

Letters: B batch, C texts, P pairs, d embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from trainer.encoders import Encoded
from trainer.evidence import ImageEvidence
from trainer.fragments import Fragments
from trainer.fusion import IMAGES, TEXTS
from trainer.hubness import HubnessCorrection
from trainer.inputs import RegionInputs, Standardizer
from trainer.similarity import CrossAttention
from trainer.text import TokenBatch


class Encoders(Protocol):
    """What an objective asks of a model."""

    def encode_images(self, regions: RegionInputs) -> Encoded:
        """Encode a batch of images."""

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        """Encode a batch of sentences."""

    def similarity(self, images: Encoded, texts: Encoded) -> Tensor:
        """Every image with every text: (B, C) float32, in units of cosine."""


class RetrievalModel(nn.Module, ABC):
    """Encoders of both sides, and what is compared in training."""

    standardizer: Standardizer
    """What region features pass first; its statistics are set before training by gradients."""

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

    ``encode_*`` is what is trained. ``join_*`` adds the towers that are not trained by gradients,
    in a model that has some. ``embed_*`` is what is searched and evaluated: joined, and corrected
    for hubness where the configuration asks for it.
    """

    reads_evidence: bool
    """Whether ``join_images`` looks at the evidence; reading it takes as long as the regions."""

    hubness: HubnessCorrection | None
    """Set by ``build_model``; its banks are filled whenever the model is validated or saved."""

    joint_slack: int = 0
    """How many last columns of a joined embedding only complete its length."""

    def __init__(self) -> None:
        super().__init__()
        self.reads_evidence = False
        # No default of the class: it would hide the module from torch's own look-up.
        self.hubness = None

    @property
    def slack(self) -> int:
        """How many last columns of an embedding say nothing of what it shows.

        They complete its length or correct for hubness, and have no part in comparing images with
        images or sentences with sentences.
        """
        return self.joint_slack + (0 if self.hubness is None else HubnessCorrection.COLUMNS)

    def similarity(self, images: Encoded, texts: Encoded) -> Tensor:
        return images.pooled @ texts.pooled.T

    def join_images(self, regions: RegionInputs, evidence: ImageEvidence | None) -> Tensor:
        """(B, d) float32 L2-normalised views of images.

        Args:
            regions: of B images.
            evidence: of the same, where ``reads_evidence``.
        """
        return self.encode_images(regions).pooled

    def join_texts(self, tokens: TokenBatch) -> Tensor:
        """(B, d) float32 L2-normalised views of sentences."""
        return self.encode_texts(tokens).pooled

    def embed_images(self, regions: RegionInputs, evidence: ImageEvidence | None) -> Tensor:
        """(B, d or d + 4) float32 L2-normalised embeddings of images; arguments as above."""
        joined = self.join_images(regions, evidence)
        return joined if self.hubness is None else self.hubness.correct(joined, side=IMAGES)

    def embed_texts(self, tokens: TokenBatch) -> Tensor:
        """(B, d or d + 4) float32 L2-normalised embeddings of sentences."""
        joined = self.join_texts(tokens)
        return joined if self.hubness is None else self.hubness.correct(joined, side=TEXTS)


class PairModel(RetrievalModel):
    """A model that compares fragment by fragment: every pair is work, and nothing is indexed."""

    cross_attention: CrossAttention

    def similarity(self, images: Encoded, texts: Encoded) -> Tensor:
        return self.cross_attention.scores(Fragments.of(images), Fragments.of(texts))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and back."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)
