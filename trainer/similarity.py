"""Cross attention between regions and words.

Source: Lee, Chen, Hua, Hu, He, "Stacked Cross Attention for Image-Text Matching", ECCV 2018
(SCAN), section 3.

Letters: B images, C texts, P pairs, d width. A *query* is looked for in a *context*: words in
images (t2i), or regions in texts (i2t). n contexts and q queries of a tile, with K and L fragments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trainer.config import Aggregation, Direction
from trainer.fragments import Fragments

# Of the leaky rectifier on the cosines, as in the published code.
SLOPE = 0.1
EPSILON = 1e-8
# Products of fragments in a tile: 4 MB of float32, so that the passes over them stay in the cache.
TILE = 2**20
QUERY_CHUNK = 64


@dataclass(frozen=True)
class CrossAttention:
    """How well the fragments of a query are found in a context.

    Attributes:
        direction: t2i looks for words among regions, i2t for regions among words.
        aggregation: of the queries' fragments: the mean (avg), or a smooth maximum (lse).
        lambda_softmax: inverse temperature of the attention.
        lambda_lse: the larger, the nearer is lse to the maximum.
    """

    direction: Direction
    aggregation: Aggregation
    lambda_softmax: float
    lambda_lse: float

    def scores(self, images: Fragments, texts: Fragments) -> Tensor:
        """Every image with every text: (B, C) float32, in tiles.

        With gradients a tile is computed again in the backward pass: memory is that of one tile,
        whatever B and C are.
        """
        if self.direction == "t2i":
            return self._in_tiles(images, texts)
        return self._in_tiles(texts, images).T

    def paired(self, images: Fragments, texts: Fragments) -> Tensor:
        """Each image with the text of its row: P of each -> (P,) float32."""
        context, query = (images, texts) if self.direction == "t2i" else (texts, images)
        cosines = context.values @ query.values.mT
        relevance = self._relevance(cosines.unsqueeze(2), context.values, context.mask)
        return self._aggregate(relevance, query.mask[:, None]).squeeze(1)

    def _in_tiles(self, contexts: Fragments, queries: Fragments) -> Tensor:
        rows, columns = contexts.ends.argsort(), queries.ends.argsort()
        parts = []
        for chosen, length in _chunks(queries.ends, columns, QUERY_CHUNK):
            query = queries.take(chosen, length=length)
            longest = int(contexts.ends.max())
            size = max(1, TILE // (longest * query.mask.numel()))
            column = []
            for some, own_length in _chunks(contexts.ends, rows, size):
                context = contexts.take(some, length=own_length)
                tile = (context.values, context.mask, query.values, query.mask)
                if torch.is_grad_enabled():
                    score = checkpoint(
                        self._tile, *tile, use_reentrant=False, preserve_rng_state=False
                    )
                else:
                    score = self._tile(*tile)
                column.append(score)
            parts.append(torch.cat(column))
        return torch.cat(parts, 1)[rows.argsort()][:, columns.argsort()]

    def _tile(
        self, context: Tensor, context_mask: Tensor, query: Tensor, query_mask: Tensor
    ) -> Tensor:
        """(n, K, d), (n, K), (q, L, d), (q, L) -> (n, q)."""
        n, k, d = context.shape
        products = context.reshape(-1, d) @ query.reshape(-1, d).T
        cosines = products.view(n, k, *query.shape[:2])
        return self._aggregate(self._relevance(cosines, context, context_mask), query_mask)

    def _relevance(self, cosines: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The cosine of each fragment of the queries and what it attends to.

        Args:
            cosines: (n, K, q, L), 0 where either is padding.
            context: (n, K, d).
            mask: (n, K).

        Returns:
            (n, q, L), undefined where there is no fragment.
        """
        rectified = F.leaky_relu(cosines, SLOPE)
        # Over the fragments of the query (equation 2): what all of them are like attracts none.
        scale = self.lambda_softmax / rectified.norm(dim=-1, keepdim=True).clamp_min(EPSILON)
        bias = torch.zeros_like(mask, dtype=cosines.dtype).masked_fill(~mask, -torch.inf)
        attention = torch.addcmul(bias[:, :, None, None], rectified, scale).softmax(1)
        # The attended vector a = sum_k attention_k context_k is never built: its product with the
        # query is a sum of cosines, and its length a form of the context's Gram matrix.
        product = (attention * cosines).sum(1)
        flat = attention.flatten(2)
        squared = (flat * ((context @ context.mT) @ flat)).sum(1).view_as(product)
        return product / squared.clamp_min(EPSILON).sqrt()

    def _aggregate(self, relevance: Tensor, mask: Tensor) -> Tensor:
        """(n, q, L) over the L fragments that there are."""
        if self.aggregation == "avg":
            return (relevance * mask).sum(-1) / mask.sum(-1)
        exponents = (self.lambda_lse * relevance).masked_fill(~mask, -torch.inf)
        return exponents.logsumexp(-1) / self.lambda_lse


def _chunks(ends: Tensor, order: Tensor, size: int) -> Iterator[tuple[Tensor, int]]:
    """Rows in an order that sorts them by length, some at a time, and the longest's length."""
    for chosen in order.split(size):
        yield chosen, int(ends[chosen].max())
