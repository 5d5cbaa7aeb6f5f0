"""The closed-form baseline: canonical correlation of pooled region features and TF-IDF.

Letters: B batch.
"""

from __future__ import annotations

from torch import Tensor

from trainer.encoders import Encoded
from trainer.inputs import RegionInputs
from trainer.models.base import EmbeddingModel
from trainer.models.linear import LinearTower
from trainer.text import TokenBatch


class CCA(EmbeddingModel):
    """The linear tower by itself. It has no gradient steps.

    Args:
        linear: not solved yet; one that sees no bag of objects: a baseline knows nothing of what
            the detector names.
    """

    def __init__(self, linear: LinearTower) -> None:
        super().__init__()
        self.linear = linear

    def encode_images(self, regions: RegionInputs) -> Encoded:
        pooled = self.linear.embed_images(regions, None)
        return _unweighted(pooled, regions.features, regions.mask)

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        pooled = self.linear.embed_texts(tokens)
        return _unweighted(pooled, tokens.ids.unsqueeze(-1).float(), tokens.mask)


def _unweighted(pooled: Tensor, fragments: Tensor, mask: Tensor) -> Encoded:
    weights = mask / mask.sum(1, keepdim=True).clamp_min(1)
    return Encoded.of(pooled, fragments, weights, mask)
