"""Regularised canonical correlation of pooled region features and TF-IDF: closed form.

Source: Hotelling, 1936; for images and text, Gong, Ke, Isard, Lazebnik, "A Multi-View Embedding
Space for Modeling Internet Images, Tags, and Their Semantics", IJCV 2014, whose scaling of the
canonical directions by a power of their correlation is used here.

Letters: N pairs, P and Q widths of the two views, B batch, W words, k canonical directions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.encoders import Encoded
from trainer.inputs import RegionInputs, Standardizer
from trainer.models.base import EmbeddingModel
from trainer.models.eigen import largest_eigenvectors
from trainer.models.tf_idf import TfIdf
from trainer.models.view import CentredSparseView, View, covariances
from trainer.pooling import masked_max, masked_mean
from trainer.text import TokenBatch
from weaksup.errors import DataError


def canonical_directions(
    first: View, second: View, *, size: int, ridge: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Directions of largest correlation between two views.

    Args:
        first: (N, P) float64, centred.
        second: (N, Q) float64, centred.
        size: k, at most min(P, Q).
        ridge: added to both covariances, as a share of their mean variance.

    Returns:
        (P, k) and (Q, k) directions, and the k correlations, falling.
    """
    own, other, between = covariances(first, second)
    whiten_first, whiten_second = _inverse_root(own, ridge), _inverse_root(other, ridge)
    cross = whiten_first @ between @ whiten_second
    left, correlations, right = torch.linalg.svd(cross, full_matrices=False)
    return (
        whiten_first @ left[:, :size],
        whiten_second @ right[:size].T,
        correlations[:size].clamp(0, 1),
    )


def _inverse_root(covariance: Tensor, ridge: float) -> Tensor:
    """(covariance + ridge)^(-1/2), symmetric."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0) + ridge * covariance.diagonal().mean()
    root: Tensor = (vectors * values.rsqrt()) @ vectors.T
    return root


def principal_axes(centred: View, *, size: int) -> Tensor:
    """(N, P) float64 -> (P, min(size, N, P)) orthonormal axes of largest variance.

    The smaller of the two Gram matrices is decomposed: with few captions that is N by N, and then
    all rows are held at once.
    """
    size = min(size, centred.count, centred.width)
    if centred.count >= centred.width:
        return largest_eigenvectors(centred.gram(), size)
    rows = torch.cat(list(centred.blocks()))
    return F.normalize(rows.T @ largest_eigenvectors(rows @ rows.T, size), dim=0)


class CCA(EmbeddingModel):
    """Whole-image, mean and maximum region features against TF-IDF, each under PCA, then CCA.

    It has no gradient steps: ``fit`` is its whole training.

    Args:
        feature_size: D, width of a region feature.
        vocabulary_size: W, rows of the vocabulary, padding and unknown included.
        image_components: principal components of the pooled features.
        text_components: principal components of TF-IDF.
        embed_size: k, canonical directions kept.
        ridge: regularisation of both covariances, as a share of their mean variance.
        power: directions are scaled by their correlation to this power.
        context: what mean and maximum over the regions count beside the whole image, as a factor
            of their standardised values.
    """

    text_mean: Tensor
    image_map: Tensor
    text_map: Tensor

    def __init__(
        self,
        *,
        feature_size: int,
        vocabulary_size: int,
        image_components: int,
        text_components: int,
        embed_size: int,
        ridge: float,
        power: float,
        context: float,
    ) -> None:
        super().__init__()
        self.image_components, self.text_components = image_components, text_components
        self.embed_size, self.ridge, self.power = embed_size, ridge, power
        self.context = context
        self.standardizer = Standardizer(size=3 * feature_size)
        self.tf_idf = TfIdf(vocabulary_size=vocabulary_size)
        self.register_buffer("text_mean", torch.zeros(vocabulary_size))
        self.register_buffer("image_map", torch.zeros(3 * feature_size, embed_size))
        self.register_buffer("text_map", torch.zeros(vocabulary_size, embed_size))

    def pool(self, regions: RegionInputs) -> Tensor:
        """Whole image, mean and maximum over regions: (B, 3 D) float32."""
        features, mask = regions.features, regions.mask
        return torch.cat(
            (features[:, 0], masked_mean(features, mask), masked_max(features, mask)), dim=1
        )

    def _scale(self, pooled: Tensor) -> Tensor:
        """(B, 3 D) pooled features, standardised and weighed."""
        whole, rest = self.standardizer.scale(pooled).tensor_split((pooled.shape[1] // 3,), dim=1)
        return torch.cat((whole, self.context * rest), dim=1)

    def fit(
        self, pooled: Tensor, owner: Tensor, tokens: TokenBatch, columns: Tensor | None = None
    ) -> Tensor:
        """Solve for both projections.

        Args:
            pooled: (N, 3 D) float32, what ``pool`` gives for the annotated images.
            owner: (C,) int64, the position in ``pooled`` of each caption's image.
            tokens: C captions.
            columns: (W,) int64, the column of TF-IDF in which each word is counted; None for its
                own.

        Returns:
            The k canonical correlations, falling.

        Raises:
            DataError: if all images, or all captions, are alike.
        """
        image_axes, image_parts = self._image_components(pooled)
        # The largest thing in memory; from here on the components do.
        del pooled
        text_axes, text_parts = self._text_components(tokens, columns)
        size = min(self.embed_size, image_axes.shape[1], text_axes.shape[1])
        first, second, correlations = canonical_directions(
            View(len(owner), image_axes.shape[1], lambda rows: image_parts[owner[rows]]),
            text_parts,
            size=size,
            ridge=self.ridge,
        )
        scale = correlations.pow(self.power)
        # Fewer directions than asked for leave zero columns, which no cosine sees.
        self.image_map.zero_()[:, :size].copy_(image_axes @ first * scale)
        self.text_map.zero_()[:, :size].copy_(text_axes @ second * scale)
        return correlations

    def _image_components(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Axes (3 D, p) and the (N, p) float64 components of all images along them."""
        self.standardizer.set(pooled.mean(0), pooled.std(0, correction=0))
        images = View(len(pooled), pooled.shape[1], lambda rows: self._scale(pooled[rows]).double())
        _check_varied(images, "images")
        axes = principal_axes(images, size=self.image_components)
        return axes, torch.cat(list(images.along(axes).blocks()))

    def _text_components(self, tokens: TokenBatch, columns: Tensor | None) -> tuple[Tensor, View]:
        """Axes (W, q) and a view of the (C, q) float64 components of all captions along them."""
        self.tf_idf.fit(tokens, columns)

        def weighed(rows: slice) -> Tensor:
            weights: Tensor = self.tf_idf(TokenBatch(tokens.ids[rows], tokens.lengths[rows]))
            return weights.double()

        texts = CentredSparseView.from_raw(len(tokens.ids), len(self.text_mean), weighed)
        _check_varied(texts, "captions")
        axes = principal_axes(texts, size=self.text_components)
        self.text_mean.copy_(texts.centre)
        return axes, texts.along(axes)

    def encode_images(self, regions: RegionInputs) -> Encoded:
        pooled = self._scale(self.pool(regions)) @ self.image_map
        return _unweighted(pooled, regions.features, regions.mask)

    def encode_texts(self, tokens: TokenBatch) -> Encoded:
        pooled = (self.tf_idf(tokens) - self.text_mean) @ self.text_map
        return _unweighted(pooled, tokens.ids.unsqueeze(-1).float(), tokens.mask)


def _check_varied(view: View, name: str) -> None:
    if not any(block.any() for block in view.blocks()):
        raise DataError(
            f"the annotated {name} are all alike: canonical correlation needs different ones",
            "keep more captions with `weaksup subsample --ratio`, or train a3vse with "
            "--set fusion.linear=0, which does without",
        )


def _unweighted(pooled: Tensor, fragments: Tensor, mask: Tensor) -> Encoded:
    weights = mask / mask.sum(1, keepdim=True).clamp_min(1)
    return Encoded.of(pooled, fragments, weights, mask)
