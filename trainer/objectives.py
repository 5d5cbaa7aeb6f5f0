"""What training minimises: objects that turn a model and a batch into named losses.

The loop sums what it is given and logs every name; it knows no objective.

Letters: B gold pairs, U un-annotated images, d embedding width, L fragments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainer.adversarial import (
    Discriminator,
    DomainLoss,
    domain_loss,
    reversal_coefficient,
    reverse_gradient,
)
from trainer.config import Negatives
from trainer.data import Batch
from trainer.encoders import Encoded
from trainer.losses import concept_overlap, distillation, hinge_ranking, info_nce
from trainer.models.base import Encoders


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Attributes:
        epoch: counted from 0.
        fraction: share of all steps that are done, in [0, 1).
    """

    epoch: int
    fraction: float


@dataclass(frozen=True)
class Losses:
    """What one step gives.

    Attributes:
        terms: weighted losses, () float each; their sum is minimised.
        info: figures to log that are not minimised, such as discriminator accuracies.
        pairs: over how many pairs the terms are summed: they are told as means of one. 1 where
            they are means already.
    """

    terms: dict[str, Tensor]
    info: dict[str, Tensor] = field(default_factory=dict)
    pairs: int = 1

    @property
    def total(self) -> Tensor:
        return torch.stack(list(self.terms.values())).sum()


def _exact(batch: Batch) -> torch.autocast:
    """Full precision, whatever the encoders ran in: in half of it many similarities are equal."""
    return torch.autocast(batch.image.device.type, enabled=False)


class Objective(nn.Module, ABC):
    """A loss with parameters of its own, perhaps (discriminators), that the optimizer trains."""

    unannotated_per_gold: float = 0.0
    """How many un-annotated images a batch should hold for each gold pair."""

    reads_fragments: bool = False
    """Whether it looks at fragments; between processes they are not sent for nothing."""

    @abstractmethod
    def forward(self, model: Encoders, batch: Batch, progress: Progress) -> Losses:
        """Losses of one batch.

        Args:
            model: gives the encodings of the whole batch, whatever it is given to encode.
            batch: of this process (trainer/data.py).
            progress: of the run.
        """


class HingeObjective(Objective):
    """Hinge ranking on the gold pairs.

    Args:
        margin: in units of cosine.
        negatives: the hardest of each row and column, or the sum over all.
        warmup_epochs: epochs on all negatives before the hardest (1 in VSE-infinity).
        reads_fragments: whether the model's similarity is of fragments.
    """

    def __init__(
        self,
        *,
        margin: float,
        negatives: Negatives,
        warmup_epochs: int,
        reads_fragments: bool = False,
    ) -> None:
        super().__init__()
        self.margin, self.negatives, self.warmup_epochs = margin, negatives, warmup_epochs
        self.reads_fragments = reads_fragments

    def forward(self, model: Encoders, batch: Batch, progress: Progress) -> Losses:
        images = model.encode_images(batch.regions)
        texts = model.encode_texts(batch.captions)
        positive = batch.image.unsqueeze(1) == batch.image.unsqueeze(0)
        with _exact(batch):
            loss = hinge_ranking(
                model.similarity(images, texts),
                positive,
                margin=self.margin,
                hardest=self.negatives == "hardest" and progress.epoch >= self.warmup_epochs,
            )
        return Losses({"gold": loss}, pairs=int(positive.sum()))


class AlignmentObjective(Objective):
    """Gold, weak, pseudo and adversarial terms (docs/method.md).

    Every term has a weight, and a weight of 0 leaves out the term and all its work. With only
    ``gold`` left this is the supervised-only ablation of A3VSE.

    Args:
        embed_size: d.
        concept_weights: (V,) float, what each concept counts in the overlap of two images.
        gold: weight of InfoNCE on (image, caption) of annotated images.
        weak: weight of InfoNCE on (image, regional semantics) of un-annotated images.
        pseudo: weight of the distillation of the teacher's similarities between all images and
            the captions of the batch; the batches must hold a teacher's embeddings.
        adversarial: weight of both discriminators' losses.
        temperature: of every InfoNCE.
        teacher_temperature: of the teacher's similarities.
        overlap_power: images that share concepts are each other's positives to the degree of
            their overlap to this power; large powers leave an image alone its own positive.
        unannotated_per_gold: un-annotated images a gold pair.
    """

    concept_weights: Tensor

    def __init__(
        self,
        *,
        embed_size: int,
        concept_weights: Tensor,
        gold: float,
        weak: float,
        pseudo: float,
        adversarial: float,
        temperature: float,
        teacher_temperature: float,
        overlap_power: float,
        unannotated_per_gold: float,
    ) -> None:
        super().__init__()
        self.gold, self.weak = gold, weak
        self.pseudo, self.adversarial = pseudo, adversarial
        self.teacher_temperature = teacher_temperature
        self.temperature, self.overlap_power = temperature, overlap_power
        self.unannotated_per_gold = unannotated_per_gold if weak or pseudo or adversarial else 0.0
        self.register_buffer("concept_weights", concept_weights, persistent=False)
        self.reads_fragments = bool(adversarial)
        if adversarial:
            self.visual_pooled = Discriminator(size=embed_size)
            self.visual_fragment = Discriminator(size=embed_size)
            self.textual_pooled = Discriminator(size=embed_size)
            self.textual_fragment = Discriminator(size=embed_size)

    def forward(self, model: Encoders, batch: Batch, progress: Progress) -> Losses:
        images = model.encode_images(batch.regions)
        captions = model.encode_texts(batch.captions)
        # Where all images are annotated there are none.
        read = (self.weak or self.adversarial) and len(batch.image) > batch.annotated
        semantics = model.encode_texts(batch.semantics) if read else None
        with _exact(batch):
            return self._losses(images, captions, semantics, batch, progress)

    def _losses(
        self,
        images: Encoded,
        captions: Encoded,
        semantics: Encoded | None,
        batch: Batch,
        progress: Progress,
    ) -> Losses:
        b = batch.annotated
        terms: dict[str, Tensor] = {}
        info: dict[str, Tensor] = {}
        if self.gold:
            same = (batch.image[:b].unsqueeze(1) == batch.image[:b].unsqueeze(0)).float()
            terms["gold"] = self.gold * self._nce(images.pooled[:b], captions.pooled, same)
        if self.pseudo:
            terms["pseudo"] = self.pseudo * distillation(
                images.pooled @ captions.pooled.T,
                batch.teacher_images @ batch.teacher_captions.T,
                temperature=self.temperature,
                teacher_temperature=self.teacher_temperature,
            )
        if semantics is None:
            return Losses(terms)
        if self.weak:
            # An image without a concept has no positive, and no cross entropy of its own: it and
            # its empty list of words are negatives of the others, and nothing else.
            target = self._target(batch)
            terms["weak"] = self.weak * self._nce(images.pooled[b:], semantics.pooled, target)
        if self.adversarial:
            self._add_adversarial(terms, info, images, captions, semantics, b, progress)
        return Losses(terms, info)

    def _nce(self, first: Tensor, second: Tensor, target: Tensor) -> Tensor:
        return info_nce(first @ second.T, target, temperature=self.temperature)

    def _target(self, batch: Batch) -> Tensor:
        """(U, U): how much of a positive each pair of un-annotated images is."""
        concepts = batch.concepts
        return concept_overlap(concepts, concepts, weights=self.concept_weights).pow(
            self.overlap_power
        )

    def _add_adversarial(
        self,
        terms: dict[str, Tensor],
        info: dict[str, Tensor],
        images: Encoded,
        captions: Encoded,
        semantics: Encoded,
        b: int,
        progress: Progress,
    ) -> None:
        coefficient = reversal_coefficient(progress.fraction)
        device = images.pooled.device
        unannotated = (torch.arange(len(images.pooled), device=device) >= b).float()
        visual = self._domains(
            self.visual_pooled, self.visual_fragment, images, unannotated, coefficient
        )
        texts = _concatenate(captions, semantics)
        weak = (torch.arange(len(texts.pooled), device=device) >= b).float()
        textual = self._domains(
            self.textual_pooled, self.textual_fragment, texts, weak, coefficient
        )
        terms["adversarial_visual"] = self.adversarial * visual.loss
        terms["adversarial_textual"] = self.adversarial * textual.loss
        info["accuracy/visual"] = visual.accuracy
        info["accuracy/textual"] = textual.accuracy

    @staticmethod
    def _domains(
        pooled: Discriminator,
        fragment: Discriminator,
        encoded: Encoded,
        domain: Tensor,
        coefficient: float,
    ) -> DomainLoss:
        """Both views of one modality: pooled vectors, and fragments weighed by attention."""
        whole = domain_loss(
            pooled(reverse_gradient(encoded.pooled, coefficient)),
            domain,
            torch.ones_like(domain),
        )
        # The weights say which fragments matter; the adversary may not move them, or it would
        # win by hiding the telling ones.
        parts = domain_loss(
            fragment(reverse_gradient(encoded.fragments, coefficient)),
            domain.unsqueeze(1).expand_as(encoded.weights),
            encoded.weights.detach() * encoded.mask,
        )
        return DomainLoss((whole.loss + parts.loss) / 2, (whole.accuracy + parts.accuracy) / 2)


def _concatenate(first: Encoded, second: Encoded) -> Encoded:
    """Two batches as one, padded to the longer."""
    length = max(first.mask.shape[1], second.mask.shape[1])

    def grow(value: Tensor) -> Tensor:
        shape = (len(value), length - value.shape[1], *value.shape[2:])
        return torch.cat((value, value.new_zeros(shape)), dim=1)

    return Encoded(
        torch.cat((first.pooled, second.pooled)),
        torch.cat((grow(first.fragments), grow(second.fragments))),
        torch.cat((grow(first.weights), grow(second.weights))),
        torch.cat((grow(first.mask), grow(second.mask))),
    )
