"""What is to be trained and evaluated: a cell for each label, ratio and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.compare.config import Comparison, Variant, slug
from trainer.config import ModelName, TrainConfig


@dataclass(frozen=True)
class Cell:
    """One training with its evaluation.

    Attributes:
        label: of the variant.
        config: every setting, with the seed that is trained with.
        changed: the settings that the file gives the variant alone.
        ratio: share of the training images that keep their captions.
        seed: of subsampling and training, as the tables count it.
    """

    label: str
    config: TrainConfig
    changed: dict[str, Any]
    ratio: float
    seed: int

    @property
    def model(self) -> ModelName:
        return self.config.model

    @property
    def folder(self) -> str:
        """Of the results; cells that are one and the same training share it."""
        return f"{slug(self.label)}-{shown_ratio(self.ratio)}-{self.config.seed}"

    def __str__(self) -> str:
        return f"{self.label}, {percent(self.ratio)}, seed {self.seed}"


def plan_cells(comparison: Comparison) -> list[Cell]:
    """Every cell, ratio by ratio and seed by seed, so that early results compare all labels."""
    ratios = sorted({ratio for variant in comparison.variants for ratio in variant.ratios})
    seeds = list(dict.fromkeys(s for variant in comparison.variants for s in variant.seeds))
    return [
        Cell(
            label=variant.label,
            config=variant.config.model_copy(update={"seed": trained_seed(variant, ratio, seed)}),
            changed=dict(variant.changed),
            ratio=ratio,
            seed=seed,
        )
        for ratio in ratios
        for seed in seeds
        for variant in comparison.variants
        if ratio in variant.ratios and seed in variant.seeds
    ]


def trained_seed(variant: Variant, ratio: float, seed: int) -> int:
    """The seed that a cell is trained with.

    The closed form draws nothing at random, and all captions are all captions: with them one
    training stands for every seed. Not with a hubness correction, whose banks are drawn.
    """
    draws = variant.model != "cca" or bool(variant.config.hubness.weight)
    return seed if draws or ratio < 1 else variant.seeds[0]


def shown_ratio(ratio: float) -> str:
    """``0.05``, ``1.0``: never in exponents, since it is part of a folder's name."""
    return str(np.format_float_positional(ratio, trim="0"))


def percent(ratio: float) -> str:
    """``5 %``, ``100 %``."""
    return f"{100 * ratio:.4g} %"
