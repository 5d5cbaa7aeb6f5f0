"""A gallery that is compared fragment by fragment, as score functions for ``trainer.ranking``.

Letters: N images, C captions, n and c of a tile, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.fragments import FragmentTable
from trainer.similarity import CrossAttention
from weaksup.types import Float32, Int64

# Padded fragments of 2,048 pairs take less than 100 MB at width 256.
PAIR_CHUNK = 2048


@dataclass(frozen=True)
class PairScores:
    """Scores of images and captions.

    Attributes:
        images: N.
        texts: C.
        image_class: (N,) int64, equal where images are copies: the place of the first.
        caption_class: (C,) int64, the same where sentences are one to the model.
        attention: how they are compared.
    """

    images: FragmentTable
    texts: FragmentTable
    image_class: Int64
    caption_class: Int64
    attention: CrossAttention

    def __call__(self, images: Int64, captions: Int64) -> Float32:
        """Every image with every caption: (n,), (c,) -> (n, c) float32."""
        with torch.no_grad():
            scores = self.attention.scores(
                self.images.padded(self._places(images)), self.texts.padded(self._places(captions))
            )
        result: Float32 = scores.cpu().numpy()
        return result

    def paired(self, images: Int64, captions: Int64) -> Float32:
        """Each image with the caption beside it: (P,), (P,) -> (P,) float32."""
        result = np.empty(len(images), dtype=np.float32)
        # Captions of like length hold little padding.
        order = np.argsort(self.texts.counts.cpu().numpy()[captions], kind="stable")
        with torch.no_grad():
            for start in range(0, len(order), PAIR_CHUNK):
                chosen = order[start : start + PAIR_CHUNK]
                scores = self.attention.paired(
                    self.images.padded(self._places(images[chosen])),
                    self.texts.padded(self._places(captions[chosen])),
                )
                result[chosen] = scores.cpu().numpy()
        return result

    def _places(self, values: Int64) -> Tensor:
        return torch.from_numpy(values).to(self.images.counts.device)
