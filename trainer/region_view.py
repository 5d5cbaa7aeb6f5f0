"""What a run sees in an image: how much each region counts, and how well it fits a sentence.

Letters: M regions of one image, d embedding width of the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from trainer.data import read_regions
from trainer.models.base import evaluating
from trainer.models.cca import CCA
from trainer.run import Run
from trainer.text import pad
from weaksup.store import RegionStore
from weaksup.types import Float32


@dataclass(frozen=True)
class RegionView:
    """How the network of a run reads the regions of an image.

    Attributes:
        weights: (M,) float32, sum 1: what each region counts in the image's embedding. They do not
            depend on a sentence: images are embedded before anybody searches.
        fit: (M,) float32, cosine of each region and the sentence; None without a sentence, and
            for ``cca``, which has no embeddings of regions.
    """

    weights: Float32
    fit: Float32 | None


def view_regions(run: Run, store: RegionStore, row: int, *, sentence: str = "") -> RegionView:
    """Look at the regions of one image that the run reads.

    Args:
        run: that embeds; of ``a3vse``, its network is asked, not its other towers.
        store: that the image is in.
        row: its position there.
        sentence: what was searched for; may be empty.
    """
    regions = read_regions(store, np.array([row]), max_regions=run.max_regions)
    with evaluating(run.model):
        image = run.model.encode_images(regions.to(run.device))
        count = int(image.mask[0].sum())
        fit = None
        if sentence.strip() and not isinstance(run.model, CCA):
            tokens = pad([run.vocabulary.encode(sentence)]).to(run.device)
            text = run.model.encode_texts(tokens).pooled[0]
            fit = _numpy(F.normalize(image.fragments[0, :count], dim=-1) @ text)
    return RegionView(_numpy(image.weights[0, :count]), fit)


def _numpy(values: torch.Tensor) -> Float32:
    result: Float32 = values.float().cpu().numpy()
    return result
