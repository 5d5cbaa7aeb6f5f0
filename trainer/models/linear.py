"""The linear tower: regularised canonical correlation of what images show and what captions say.

It is solved in closed form. Alone it is the baseline ``cca``; in a3vse it sees the detector's bag
of objects, too, and teaches where ``loss.w_pseudo`` asks for a teacher.

Source: Hotelling, 1936; for images and text, Gong, Ke, Isard, Lazebnik, "A Multi-View Embedding
Space for Modeling Internet Images, Tags, and Their Semantics", IJCV 2014, whose scaling of the
canonical directions by a power of their correlation is used here.

Letters: N pairs, B batch, D feature width, O columns of the bag of objects, P = 3 D + O, W words,
k canonical directions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.inputs import RegionInputs, Standardizer
from trainer.models.canonical import canonical_directions, principal_axes
from trainer.models.tf_idf import TfIdf
from trainer.models.view import CentredSparseView, View
from trainer.pooling import masked_max, masked_mean
from trainer.text import TokenBatch
from weaksup.errors import DataError

# Added to the deviation of the bag's columns: an object that is hardly ever there says little.
DEVIATION_FLOOR = 0.02


class LinearTower(nn.Module):
    """Pooled region features, and objects, against TF-IDF, each under PCA, then CCA.

    It has no gradient steps: ``fit`` is its whole training.

    Args:
        feature_size: D.
        objects_size: O; 0 for a tower that does not see the bag of objects.
        vocabulary_size: W, rows of the vocabulary, padding and unknown included.
        image_components: principal components of what is pooled.
        text_components: principal components of TF-IDF.
        embed_size: k, canonical directions kept.
        ridge: regularisation of both covariances, as a share of their mean variance.
        power: directions are scaled by their correlation to this power.
        context: what mean and maximum over the regions count beside the whole image, as a factor
            of their standardised values.
        objects: what the bag of objects counts beside the whole image, in the same way.
    """

    weights: Tensor
    text_mean: Tensor
    image_map: Tensor
    text_map: Tensor

    def __init__(
        self,
        *,
        feature_size: int,
        objects_size: int,
        vocabulary_size: int,
        image_components: int,
        text_components: int,
        embed_size: int,
        ridge: float,
        power: float,
        context: float,
        objects: float,
    ) -> None:
        super().__init__()
        self.image_components, self.text_components = image_components, text_components
        self.embed_size, self.ridge, self.power = embed_size, ridge, power
        self.objects_size = objects_size
        self.width = 3 * feature_size + objects_size
        self.standardizer = Standardizer(size=self.width)
        weights = torch.ones(self.width)
        weights[feature_size:] = context
        weights[3 * feature_size :] = objects
        # The settings say it: no part of what is saved.
        self.register_buffer("weights", weights, persistent=False)
        self.tf_idf = TfIdf(vocabulary_size=vocabulary_size)
        self.register_buffer("text_mean", torch.zeros(vocabulary_size))
        self.register_buffer("image_map", torch.zeros(self.width, embed_size))
        self.register_buffer("text_map", torch.zeros(vocabulary_size, embed_size))

    def pool(self, regions: RegionInputs, objects: Tensor | None) -> Tensor:
        """Whole image, mean and maximum over regions, bag of objects: (B, P) float32.

        Args:
            regions: of B images.
            objects: (B, O) float32, as ``trainer.evidence.read_objects`` gives it; not looked at
                where O is 0.
        """
        features, mask = regions.features, regions.mask
        parts = [features[:, 0], masked_mean(features, mask), masked_max(features, mask)]
        if self.objects_size:
            assert objects is not None, "a tower that sees the bag of objects reads it"
            parts.append(objects)
        return torch.cat(parts, dim=1)

    def _scale(self, pooled: Tensor) -> Tensor:
        """(B, P) pooled features, standardised and weighed."""
        return self.standardizer.scale(pooled) * self.weights

    def fit(
        self, pooled: Tensor, owner: Tensor, tokens: TokenBatch, columns: Tensor | None = None
    ) -> Tensor:
        """Solve for both projections.

        Args:
            pooled: (N, P) float32, what ``pool`` gives for the annotated images.
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
        """Axes (P, p) and the (N, p) float64 components of all images along them."""
        deviation = pooled.std(0, correction=0)
        deviation[len(deviation) - self.objects_size :] += DEVIATION_FLOOR
        self.standardizer.set(pooled.mean(0), deviation)
        images = View(len(pooled), pooled.shape[1], lambda rows: self._scale(pooled[rows]).double())
        _check_varied(images, "image")
        axes = principal_axes(images, size=self.image_components)
        return axes, torch.cat(list(images.along(axes).blocks()))

    def _text_components(self, tokens: TokenBatch, columns: Tensor | None) -> tuple[Tensor, View]:
        """Axes (W, q) and a view of the (C, q) float64 components of all captions along them."""
        self.tf_idf.fit(tokens, columns)

        def weighed(rows: slice) -> Tensor:
            weights: Tensor = self.tf_idf(TokenBatch(tokens.ids[rows], tokens.lengths[rows]))
            return weights.double()

        texts = CentredSparseView.from_raw(len(tokens.ids), len(self.text_mean), weighed)
        _check_varied(texts, "caption")
        axes = principal_axes(texts, size=self.text_components)
        self.text_mean.copy_(texts.centre)
        return axes, texts.along(axes)

    def embed_images(self, regions: RegionInputs, objects: Tensor | None) -> Tensor:
        """(B, k) float32 L2-normalised; arguments as those of ``pool``."""
        return F.normalize(self._scale(self.pool(regions, objects)) @ self.image_map, dim=-1)

    def embed_texts(self, tokens: TokenBatch) -> Tensor:
        """B sentences -> (B, k) float32 L2-normalised."""
        return F.normalize((self.tf_idf(tokens) - self.text_mean) @ self.text_map, dim=-1)


def _check_varied(view: View, name: str) -> None:
    if any(block.any() for block in view.blocks()):
        return
    several = f"the annotated {name}s are all alike"
    raise DataError(
        f"{several if view.count > 1 else f'there is one annotated {name} alone'}: canonical "
        "correlation needs different ones",
        "keep the captions of more images (a larger ratio), or train a3vse with the setting "
        "fusion.linear=0, which does without",
    )
