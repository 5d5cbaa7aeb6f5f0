"""What is solved in closed form: linear and concept tower, the teacher, the hubness correction.

Regularised CCA of the gold pairs generalises from few captions better than a network does. Its
similarities between *every* training image and the kept captions are soft pseudo-captions for the
images that have none (the idea of S-CLIP, Mo et al., NeurIPS 2023, with CCA as the teacher).

Letters: N training images, G gold captions, k canonical directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from trainer.data import BANKS, Teacher, TrainingData, read_images, read_regions
from trainer.evidence import concept_words, read_evidence, read_objects
from trainer.inputs import RegionInputs
from trainer.lexicon import concept_columns, stem_columns
from trainer.models.base import EmbeddingModel, evaluating
from trainer.models.concepts import ConceptTower
from trainer.models.linear import LinearTower
from trainer.models.view import View
from trainer.text import TokenBatch, pad
from weaksup.types import Int64

CHUNK = 256


def fit_linear(tower: LinearTower, data: TrainingData, *, max_regions: int) -> Tensor:
    """Solve the linear tower on the gold pairs.

    Returns:
        The canonical correlations, falling.
    """
    with torch.no_grad():
        return tower.fit(
            _pool(tower, data, max_regions=max_regions),
            torch.from_numpy(data.gold_image),
            _captions(data),
            _columns(data),
        )


def _pool(tower: LinearTower, data: TrainingData, *, max_regions: int) -> Tensor:
    """What is pooled of the annotated images, (N, P): the one thing that grows with them."""
    annotated = data.rows[: data.annotated]
    pooled = torch.empty(len(annotated), tower.width)
    for chunk, rows in zip(pooled.split(CHUNK), _chunks(annotated), strict=True):
        chunk.copy_(tower.pool(*_read(tower, data, rows, max_regions=max_regions)))
    return pooled


def _read(
    tower: LinearTower, data: TrainingData, rows: Int64, *, max_regions: int
) -> tuple[RegionInputs, Tensor | None]:
    """What the tower pools of some images."""
    regions = read_regions(data.store, rows, max_regions=max_regions)
    if not tower.objects_size:
        return regions, None
    return regions, torch.from_numpy(read_objects(data.store, rows))


def fit_concepts(model: ConceptTower, data: TrainingData) -> None:
    """Set the concept tower's statistics from training images and kept captions."""
    meant = concept_columns(concept_words(data.store), data.vocabulary.words)
    evidence = View(
        len(data.rows),
        len(meant),
        lambda rows: torch.from_numpy(read_evidence(data.store, data.rows[rows])),
    )
    with torch.no_grad():
        model.fit(torch.from_numpy(meant), evidence, _captions(data), _columns(data))


def make_teacher(tower: LinearTower, data: TrainingData, *, max_regions: int) -> Teacher:
    """Embed all training images and gold captions with a linear tower that has been solved."""
    with torch.no_grad():
        images = [
            tower.embed_images(*_read(tower, data, rows, max_regions=max_regions)).numpy()
            for rows in _chunks(data.rows)
        ]
        captions = [
            tower.embed_texts(pad(sentences)).numpy()
            for sentences in _sentence_chunks(data, range(len(data.gold_captions)))
        ]
    return Teacher(np.concatenate(images), np.concatenate(captions))


def fit_hubness(model: EmbeddingModel, data: TrainingData, *, max_regions: int, seed: int) -> None:
    """Fill the banks of a model's hubness correction, if it has one.

    They hold training images, un-annotated ones too where training reads them, and kept captions,
    drawn at random and the same at every call.
    """
    hubness = model.hubness
    if hubness is None:
        return
    generator = np.random.default_rng((seed, BANKS))
    size = len(hubness.image_bank)
    rows = np.sort(generator.permutation(data.rows)[:size])
    texts = np.sort(generator.permutation(len(data.gold_captions))[:size])
    device = hubness.image_bank.device
    with evaluating(model):
        images = [
            model.join_images(
                *read_images(
                    data.store,
                    chunk,
                    max_regions=max_regions,
                    evidence=model.reads_evidence,
                    device=device,
                )
            )
            for chunk in _chunks(rows)
        ]
        captions = [
            model.join_texts(pad(sentences).to(device))
            for sentences in _sentence_chunks(data, texts.tolist())
        ]
        hubness.fit(torch.cat(images), torch.cat(captions))


def _captions(data: TrainingData) -> TokenBatch:
    return pad([data.vocabulary.encode(caption) for caption in data.gold_captions])


def _sentence_chunks(data: TrainingData, texts: Sequence[int]) -> Iterator[list[list[int]]]:
    """Gold captions by number, encoded, ``CHUNK`` at a time."""
    for start in range(0, len(texts), CHUNK):
        part = texts[start : start + CHUNK]
        yield [data.vocabulary.encode(data.gold_captions[text]) for text in part]


def _columns(data: TrainingData) -> Tensor:
    return torch.from_numpy(stem_columns(data.vocabulary.words))


def _chunks(rows: Int64) -> Iterator[Int64]:
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
