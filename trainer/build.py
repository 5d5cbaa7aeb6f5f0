"""Configuration to parts: the only place where models and objectives meet settings."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainer.config import TrainConfig
from trainer.data import TrainingData
from trainer.evidence import OBJECT_COLUMNS, sources
from trainer.fusion import SLACK
from trainer.hubness import HubnessCorrection
from trainer.models.a3vse import A3VSE, Shares
from trainer.models.base import EmbeddingModel, RetrievalModel
from trainer.models.cca import CCA
from trainer.models.concepts import ConceptTower
from trainer.models.linear import LinearTower
from trainer.models.scan import SCAN
from trainer.models.vse_infty import VSEInfty
from trainer.models.vsepp import VSEPP
from trainer.objectives import AlignmentObjective, HingeObjective, Objective
from trainer.similarity import CrossAttention


@dataclass(frozen=True)
class Sizes:
    """What a model's shape takes from the data.

    Attributes:
        features: D, width of a region feature.
        words: rows of the vocabulary, padding and unknown included.
        sources: how many concepts each source of evidence has.
    """

    features: int
    words: int
    sources: tuple[int, ...]

    @property
    def objects(self) -> int:
        """How many objects the detector knows by name."""
        return self.sources[0]

    @classmethod
    def of(cls, data: TrainingData) -> Sizes:
        """What training data give."""
        return cls(
            features=data.store.feature_size,
            words=len(data.vocabulary),
            sources=sources(data.store),
        )


def build_model(config: TrainConfig, sizes: Sizes) -> RetrievalModel:
    """The configured model, with fresh weights from torch's global generator."""
    if config.model == "scan":
        return SCAN(
            attention=CrossAttention(**config.scan.model_dump()),
            feature_size=sizes.features,
            vocabulary_size=sizes.words,
            embed_size=config.embed_size,
            word_size=config.text.word_size,
            feature_dropout=config.regions.dropout,
            word_dropout=config.text.dropout,
        )
    model = _build_embedding_model(config, sizes)
    if config.hubness.weight:
        model.hubness = HubnessCorrection(
            width=_joint_size(config),
            bank=config.hubness.bank,
            neighbours=config.hubness.neighbours,
            weight=config.hubness.weight,
        )
    return model


def _joint_size(config: TrainConfig) -> int:
    """Width of what the configured model's ``join_images`` and ``join_texts`` give."""
    if config.model == "cca":
        return config.cca.directions
    if config.model != "a3vse":
        return config.embed_size
    fusion = config.fusion
    towers = (
        (fusion.network, config.embed_size),
        (fusion.linear, config.cca.directions),
        (fusion.concepts, fusion.concept_size),
    )
    return SLACK + sum(size for share, size in towers if share)


def _build_embedding_model(config: TrainConfig, sizes: Sizes) -> EmbeddingModel:
    if config.model == "cca":
        return CCA(_build_linear(config, sizes, objects_size=0))
    if config.model == "vsepp":
        return VSEPP(
            feature_size=sizes.features,
            vocabulary_size=sizes.words,
            embed_size=config.embed_size,
            word_size=config.text.word_size,
            feature_dropout=config.regions.dropout,
            word_dropout=config.text.dropout,
        )
    if config.model == "vse-infty":
        return VSEInfty(
            feature_size=sizes.features,
            vocabulary_size=sizes.words,
            embed_size=config.embed_size,
            word_size=config.text.word_size,
            dropout=config.text.dropout,
            region_drop=config.regions.region_drop,
        )
    fusion = config.fusion
    return A3VSE(
        shares=Shares(network=fusion.network, linear=fusion.linear, concepts=fusion.concepts),
        linear=build_linear(config, sizes),
        concepts=ConceptTower(
            sources=sizes.sources, vocabulary_size=sizes.words, size=fusion.concept_size
        ),
        feature_size=sizes.features,
        vocabulary_size=sizes.words,
        embed_size=config.embed_size,
        word_size=config.text.word_size,
        hidden_size=config.regions.hidden_size,
        heads=config.regions.heads,
        attention_layers=config.regions.attention_layers,
        feature_dropout=config.regions.dropout,
        word_dropout=config.text.dropout,
    )


def build_linear(config: TrainConfig, sizes: Sizes) -> LinearTower:
    """The linear tower of a3vse, and the teacher of ``loss.w_pseudo``."""
    seen = sizes.objects if config.fusion.objects else 0
    return _build_linear(config, sizes, objects_size=OBJECT_COLUMNS * seen)


def _build_linear(config: TrainConfig, sizes: Sizes, *, objects_size: int) -> LinearTower:
    return LinearTower(
        feature_size=sizes.features,
        vocabulary_size=sizes.words,
        image_components=config.cca.image_components,
        text_components=config.cca.text_components,
        embed_size=config.cca.directions,
        ridge=config.cca.ridge,
        power=config.cca.power,
        context=config.cca.context,
        objects_size=objects_size,
        objects=config.fusion.objects,
    )


def build_objective(
    config: TrainConfig, *, concept_weights: torch.Tensor, weak: bool = True
) -> Objective:
    """The configured objective.

    Args:
        config: of the run.
        concept_weights: (V,) float32, what each concept counts in the overlap of two images.
        weak: whether there are regional semantics to learn from.
    """
    loss = config.loss
    if config.model in ("vsepp", "vse-infty", "scan"):
        return HingeObjective(
            margin=loss.margin,
            negatives=loss.negatives,
            warmup_epochs=loss.warmup_epochs,
            reads_fragments=config.model == "scan",
        )
    return AlignmentObjective(
        embed_size=config.embed_size,
        concept_weights=concept_weights,
        gold=loss.w_gold,
        weak=loss.w_weak if weak else 0.0,
        pseudo=loss.w_pseudo,
        adversarial=loss.w_adv,
        temperature=loss.temperature,
        teacher_temperature=loss.teacher_temperature,
        overlap_power=loss.overlap_power,
        unannotated_per_gold=loss.unannotated_per_gold,
    )
