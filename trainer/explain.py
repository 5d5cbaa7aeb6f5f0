"""Why an image and a sentence are alike to a model: what can be said exactly.

Letters: R regions, T words, V concepts, W rows of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from trainer.data import read_regions
from trainer.evidence import ImageEvidence
from trainer.fusion import IMAGES, TEXTS
from trainer.hubness import HubnessCorrection
from trainer.models.a3vse import A3VSE
from trainer.models.base import EmbeddingModel, evaluating
from trainer.models.cca import CCA
from trainer.models.concepts import ConceptTower
from trainer.models.vsepp import VSEPP
from trainer.run import Run
from trainer.text import UNKNOWN, TokenBatch, pad, tokenize
from weaksup.errors import DataError
from weaksup.store import RegionStore
from weaksup.types import STATUS_UNREADABLE, Float32, Int64

_MEANINGS: dict[type[EmbeddingModel], str] = {
    A3VSE: "Weights are those of the network's attentive pooling, the mean of its heads. The "
    "regions' depend on the picture alone and the words' on the sentence alone; to both sums the "
    "network adds the plain mean, so that what has no weight still counts.",
    VSEPP: "This model pools without attention: all regions count the same, and of the sentence "
    "the network's state after its last word.",
    CCA: "This model pools without attention: the whole picture, and mean and maximum over its "
    "regions, are compared with the words by their rarity.",
}
# A word in a larger share of the captions says little.
_FREQUENT = 0.05
_OTHERS = (
    "Weights are those of the model's pooling. The regions' depend on the picture alone and the "
    "words' on the sentence alone."
)


@dataclass(frozen=True)
class Word:
    """A word of the sentence.

    Attributes:
        text: as the model reads it.
        weight: in the pooling over words; all sum to 1.
        known: whether it is in the model's vocabulary.
    """

    text: str
    weight: float
    known: bool


@dataclass(frozen=True)
class Part:
    """A part of the similarity: share times cosine is what it adds.

    Attributes:
        name: of a tower, or of what the hubness correction subtracts.
        share: what it counts, negative for a correction.
        cosine: of the image and the sentence; for a correction, the mean one of the image, or of
            the sentence, with the nearest of the bank.
    """

    name: str
    share: float
    cosine: float


@dataclass(frozen=True)
class Evidence:
    """A word that the concept tower has evidence for.

    Attributes:
        text: the word; others of its stem count as the same.
        sure: how sure the surest source is of it, in [0, 1].
        standing: that evidence beside what training images have of it, standardised; of all
            words of the image together, of length 1.
        said: whether the sentence says it.
    """

    text: str
    sure: float
    standing: float
    said: bool


@dataclass(frozen=True)
class Explanation:
    """What a model makes of an image and a sentence.

    Attributes:
        meaning: what the weights are, for people.
        regions: (R,) float32 in the order of the store, the whole image first; they sum to 1.
        words: of the sentence.
        similarity: by which the pair is ranked.
        parts: whose shares times cosines sum to it.
        evidence: of the image, the most outstanding first; empty without a concept tower.
        unsupported: words of the sentence that no concept stands for, so that the concept tower
            cannot see them; without those that many captions have, such as "a".
    """

    meaning: str
    regions: Float32
    words: tuple[Word, ...]
    similarity: float
    parts: tuple[Part, ...]
    evidence: tuple[Evidence, ...]
    unsupported: tuple[str, ...]


def explain(run: Run, store: RegionStore, index: int, sentence: str, *, top: int) -> Explanation:
    """Take a model's similarity of an image and a sentence apart.

    Args:
        run: a trained run.
        store: that the run fits (``check_store``).
        index: of the image in the store.
        sentence: any text.
        top: words of evidence, at most.

    Raises:
        DataError: if the image was unreadable, so that the store has no regions of it.
        UsageError: if the model has no embeddings.
    """
    model = run.embedding_model()
    if store.status[index] == STATUS_UNREADABLE:
        raise DataError(f"the image {store.ids[index]} has no regions: it could not be read")
    rows: Int64 = np.array([index], dtype=np.int64)
    regions = read_regions(store, rows, max_regions=run.max_regions).to(run.device)
    ids = run.vocabulary.encode(sentence)
    tokens = pad([ids]).to(run.device)
    evidence = ImageEvidence.read(store, rows).to(run.device)
    with evaluating(model):
        images, texts = model.encode_images(regions), model.encode_texts(tokens)
        vectors = model.embed_images(regions, evidence), model.embed_texts(tokens)
        network = _cosine(images.pooled, texts.pooled)
        similarity = _cosine(*vectors)
        joined = model.join_images(regions, evidence), model.join_texts(tokens)
        parts = [Part("model", 1.0, _cosine(*joined))]
        found: tuple[Evidence, ...] = ()
        unsupported: tuple[str, ...] = ()
        if isinstance(model, A3VSE):
            parts = [Part("network", model.shares.network, network)]
            if model.linear is not None:
                cosine = _cosine(
                    model.linear.embed_images(regions, evidence.objects),
                    model.linear.embed_texts(tokens),
                )
                parts.append(Part("linear", model.shares.linear, cosine))
            if model.concepts is not None:
                tower = model.concepts
                cosine = _cosine(tower.embed_images(evidence.concepts), tower.embed_texts(tokens))
                parts.append(Part("concepts", model.shares.concepts, cosine))
                found, unsupported = _evidence(
                    tower, evidence.concepts, tokens, run, sentence, top=top
                )
        if model.hubness is not None:
            parts = _corrected(parts, model.hubness, *joined)
    said = tokenize(sentence) or [sentence.strip()]
    weights = texts.weights[0].cpu().tolist()
    return Explanation(
        meaning=_MEANINGS.get(type(model), _OTHERS),
        regions=images.weights[0].cpu().numpy(),
        words=tuple(
            Word(text, weight, row != UNKNOWN)
            for text, weight, row in zip(said, weights, ids, strict=True)
        ),
        similarity=similarity,
        parts=tuple(part for part in parts if part.share),
        evidence=found,
        unsupported=unsupported,
    )


def _corrected(
    parts: Sequence[Part], hubness: HubnessCorrection, image: Tensor, text: Tensor
) -> list[Part]:
    """The parts as they count beside the correction, and what it subtracts."""
    total = 1 + 2 * hubness.weight
    share = -hubness.weight / total
    return [
        *(replace(part, share=part.share / total) for part in parts),
        Part("image's hubness", share, float(hubness.nearness(image, side=IMAGES)[0])),
        Part("sentence's hubness", share, float(hubness.nearness(text, side=TEXTS)[0])),
    ]


def _cosine(images: Tensor, texts: Tensor) -> float:
    return float((images[0] * texts[0]).sum())


def _evidence(
    tower: ConceptTower,
    evidence: Tensor,
    tokens: TokenBatch,
    run: Run,
    sentence: str,
    *,
    top: int,
) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
    """The most outstanding words of an image, and the sentence's words that none can be."""
    sure, standing = (one[0].cpu().numpy() for one in tower.evidence_for_words(evidence))
    column: Callable[[int], int] = tower.tf_idf.columns.tolist().__getitem__
    meant = tower.meant.any(0).cpu().numpy()
    rows = run.vocabulary.encode(sentence)
    said = {column(row) for row in rows}
    order = [place for place in np.argsort(-standing, kind="stable") if standing[place] > 0]
    # What the sentence says is told in any case.
    chosen = [place for place in order if meant[place] and sure[place] > 0]
    chosen = [*chosen[:top], *(place for place in chosen[top:] if int(place) in said)]
    found = tuple(
        Evidence(
            run.vocabulary.words[place],
            float(sure[place]),
            float(standing[place]),
            int(place) in said,
        )
        for place in chosen
    )
    rare = (tower.tf_idf.idf > 1 - math.log(_FREQUENT)).tolist()
    lost = [
        word
        for word, row in zip(tokenize(sentence), rows, strict=False)
        if row == UNKNOWN or (rare[column(row)] and not meant[column(row)])
    ]
    return found, tuple(dict.fromkeys(lost))
