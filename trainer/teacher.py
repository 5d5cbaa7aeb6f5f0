"""A closed-form teacher: which captions an un-annotated image could have.

Regularised CCA of the gold pairs generalises from few captions better than a network does. Its
similarities between *every* training image and the kept captions are soft pseudo-captions for the
images that have none (the idea of S-CLIP, Mo et al., NeurIPS 2023, with CCA as the teacher).

Letters: N training images, G gold captions, k canonical directions.
"""

from __future__ import annotations

import numpy as np
import torch

from trainer.data import Teacher, TrainingData, read_regions
from trainer.models.cca import CCA
from trainer.text import pad
from weaksup.types import Int64

CHUNK = 256


def fit_cca(model: CCA, data: TrainingData, *, max_regions: int) -> torch.Tensor:
    """Solve CCA on the gold pairs; the model's standardizer is set already.

    Returns:
        The canonical correlations, falling.
    """
    pooled = _pool(model, data, data.rows[: data.annotated], max_regions=max_regions)
    tokens = pad([data.vocabulary.encode(caption) for caption in data.gold_captions])
    with torch.no_grad():
        return model.fit(pooled, torch.from_numpy(data.gold_image), tokens)


def make_teacher(model: CCA, data: TrainingData, *, max_regions: int) -> Teacher:
    """Fit ``model`` to the gold pairs and embed all training images and gold captions."""
    fit_cca(model, data, max_regions=max_regions)
    tokens = pad([data.vocabulary.encode(caption) for caption in data.gold_captions])
    with torch.no_grad():
        images = [
            model.encode_images(
                read_regions(data.store, rows, max_regions=max_regions)
            ).pooled.numpy()
            for rows in _chunks(data.rows)
        ]
        captions = model.encode_texts(tokens).pooled.numpy()
    return Teacher(np.concatenate(images), captions)


def _pool(model: CCA, data: TrainingData, rows: Int64, *, max_regions: int) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(
            [
                model.pool(read_regions(data.store, part, max_regions=max_regions))
                for part in _chunks(rows)
            ]
        )


def _chunks(rows: Int64) -> list[Int64]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
