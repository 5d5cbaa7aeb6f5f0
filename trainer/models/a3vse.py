"""A3VSE: adversarial attentive alignment with regional semantics.

Source: Huang, Kang, Liu, Chang, Hauptmann, ACM Multimedia 2019. docs/method.md says what is the
paper's and what is our reading of it.

The discriminators are no part of this model: only training needs them (trainer/objectives.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from trainer.encoders import Encoded, RegionEncoder, TextEncoder
from trainer.evidence import ImageEvidence
from trainer.fusion import IMAGES, SLACK, TEXTS, fuse
from trainer.inputs import RegionInputs, Standardizer
from trainer.models.base import EmbeddingModel
from trainer.models.concepts import ConceptTower
from trainer.models.linear import LinearTower
from trainer.pooling import AttentivePooling, masked_mean
from trainer.similarity import CrossAttention
from trainer.text import TokenBatch

ATTENTION = CrossAttention(direction="i2t", aggregation="avg", lambda_softmax=20.0, lambda_lse=6.0)
"""How the network's regions and words are compared where lists are re-ranked."""


@dataclass(frozen=True)
class Shares:
    """What each tower counts in the similarity, of any positive sum; 0 leaves a tower out.

    Attributes:
        network: the attentive network.
        linear: canonical correlation, solved on the gold pairs.
        concepts: concept words against the words of a sentence.
    """

    network: float
    linear: float
    concepts: float


class A3VSE(EmbeddingModel):
    """Attentive pooling over regions and over words; one text tower for captions and semantics.

    Beside this network stand two towers in closed form: few captions fit them better, and what
    they find differs. All three are compared as one vector (trainer/fusion.py).

    Args:
        shares: of the towers.
        linear: not solved yet.
        concepts: the concept tower; not fitted yet.
        feature_size: width of a region feature.
        vocabulary_size: rows of the word embedding.
        embed_size: width of the common space.
        word_size: width of a word embedding.
        hidden_size: width of the region MLP; 0 leaves it out.
        heads: attention heads of each pooling, and of each self-attention layer.
        attention_layers: self-attention layers over the regions.
        feature_dropout: on the features and in the MLP.
        word_dropout: on the word embeddings.
    """

    joint_slack = SLACK

    def __init__(
        self,
        *,
        shares: Shares,
        linear: LinearTower,
        concepts: ConceptTower,
        feature_size: int,
        vocabulary_size: int,
        embed_size: int,
        word_size: int,
        hidden_size: int,
        heads: int,
        attention_layers: int,
        feature_dropout: float,
        word_dropout: float,
    ) -> None:
        super().__init__()
        total = shares.network + shares.linear + shares.concepts
        self.shares = Shares(shares.network / total, shares.linear / total, shares.concepts / total)
        # A network without a share may be without training.
        self.cross_attention = ATTENTION if shares.network else None
        # A tower without a share may still teach, but is no part of what is saved.
        self.linear = linear if shares.linear else None
        self.concepts = concepts if shares.concepts else None
        self.reads_evidence = self.concepts is not None or (
            self.linear is not None and self.linear.objects_size > 0
        )
        self.standardizer = Standardizer(size=feature_size)
        self.regions = RegionEncoder(
            feature_size=feature_size,
            embed_size=embed_size,
            hidden_size=hidden_size,
            attention_layers=attention_layers,
            heads=heads,
            dropout=feature_dropout,
        )
        self.region_pooling = AttentivePooling(size=embed_size, heads=heads)
        self.text = TextEncoder(
            vocabulary_size=vocabulary_size,
            word_size=word_size,
            embed_size=embed_size,
            dropout=word_dropout,
        )
        self.text_pooling = AttentivePooling(size=embed_size, heads=heads)

    def encode_images(self, regions: RegionInputs) -> Encoded:
        fragments = self.regions(self.standardizer(regions))
        pooled, weights = self.region_pooling(fragments, regions.mask)
        pooled = pooled + masked_mean(fragments, regions.mask)
        return Encoded.of(pooled, fragments, weights, regions.mask)

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        fragments = self.text(tokens)
        pooled, weights = self.text_pooling(fragments, tokens.mask)
        pooled = pooled + masked_mean(fragments, tokens.mask)
        return Encoded.of(pooled, fragments, weights, tokens.mask)

    def join_images(self, regions: RegionInputs, evidence: ImageEvidence | None) -> Tensor:
        def linear(tower: LinearTower) -> Tensor:
            return tower.embed_images(regions, None if evidence is None else evidence.objects)

        def concepts(tower: ConceptTower) -> Tensor:
            assert evidence is not None, "a model with a concept tower reads the evidence"
            return tower.embed_images(evidence.concepts)

        return self._join(
            network=lambda: self.encode_images(regions).pooled,
            linear=linear,
            concepts=concepts,
            side=IMAGES,
        )

    def join_texts(self, tokens: TokenBatch) -> Tensor:
        return self._join(
            network=lambda: self.encode_texts(tokens).pooled,
            linear=lambda tower: tower.embed_texts(tokens),
            concepts=lambda tower: tower.embed_texts(tokens),
            side=TEXTS,
        )

    def _join(
        self,
        *,
        network: Callable[[], Tensor],
        linear: Callable[[LinearTower], Tensor],
        concepts: Callable[[ConceptTower], Tensor],
        side: int,
    ) -> Tensor:
        """The towers' views as one vector; a tower without a share does no work."""
        parts, shares = [], []
        if self.shares.network:
            parts.append(network())
            shares.append(self.shares.network)
        if self.linear is not None:
            parts.append(linear(self.linear))
            shares.append(self.shares.linear)
        if self.concepts is not None:
            parts.append(concepts(self.concepts))
            shares.append(self.shares.concepts)
        return fuse(parts, shares, side=side)
