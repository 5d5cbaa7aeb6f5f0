"""Does it matter which images are annotated? `cca` trained on images chosen in different ways.

All images have captions here; a strategy is told those of the images that it has chosen. In the
first round it chooses from nothing; in the second, half of the budget was spent at random, and it
chooses the other half, with the regions alone or with a model trained on the first half.

    python -m benchmarks.suggest_simulation REGIONS CAPTIONS [BUDGET ...]

Prints rsum on val.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from pipelines.suggest.choose import Pool, StrategyName
from trainer.build import Sizes, build_model
from trainer.config import load_config
from trainer.data import TrainingData
from trainer.evaluate import choose_split, evaluate_images
from trainer.models.cca import CCA
from trainer.run import Towers
from trainer.teacher import fit_linear
from weaksup.corpora import assign_splits, match_ids, read_corpus
from weaksup.store import RegionStore, open_store, pool_features
from weaksup.subsample import ImageConcepts, subsample
from weaksup.types import STATUS_UNREADABLE, TRAIN, VAL, Annotations, Corpus

SEEDS = (0, 1, 2)
BUDGETS = (300, 600)
# Strategy of the second round, and whether it has a model of the first.
SECOND: tuple[tuple[StrategyName, bool], ...] = (
    ("random", False),
    ("coverage", False),
    ("diverse", False),
    ("mixed", False),
    ("diverse", True),
    ("uncertain", True),
    ("mixed", True),
)


class Simulation:
    """The data, and what is done with them.

    Args:
        store: open.
        corpus: with splits, and with the ids of the store, of readable images.
    """

    def __init__(self, store: RegionStore, corpus: Corpus) -> None:
        self.store, self.corpus = store, corpus
        self.config = load_config(model="cca", file=None, overrides={})
        self.captions = {image.id: len(image.captions) for image in corpus.split(TRAIN)}
        self.val = choose_split(corpus, store, VAL).images
        self.concepts = ImageConcepts.of_store(store, min_score=store.score_threshold)
        names = list(self.captions)
        self._rows = {name: row for row, name in enumerate(names)}
        self._features = pool_features(store, names)

    def annotate(self, images: Iterable[str]) -> Annotations:
        """Annotations in which these images keep all their captions."""
        kept = sorted(images)
        return Annotations(
            ratio=len(kept) / len(self.captions),
            unit="image",
            strategy="simulated",
            seed=0,
            captions=self.corpus.source,
            fingerprint=self.corpus.fingerprint,
            annotated=tuple(kept),
            unannotated=tuple(sorted(self.captions.keys() - set(kept))),
            captions_kept={name: tuple(range(self.captions[name])) for name in kept},
        )

    def first(self, strategy: str, *, budget: int, seed: int) -> Annotations:
        return subsample(
            self.corpus,
            ratio=budget / len(self.captions),
            strategy=strategy,
            seed=seed,
            concepts=self.concepts,
            features=lambda ids: self._features[[self._rows[name] for name in ids]],
        )

    def train(self, annotations: Annotations) -> Towers:
        config = self.config
        data = TrainingData.build(
            self.store,
            self.corpus,
            annotations,
            unannotated=False,
            semantics=config.semantics,
            min_count=config.text.min_count,
        )
        model = build_model(config, Sizes.of(data))
        assert isinstance(model, CCA)
        fit_linear(model.linear, data, max_regions=config.max_regions)
        return Towers(
            model=model,
            vocabulary=data.vocabulary,
            device=torch.device("cpu"),
            max_regions=config.max_regions,
        )

    def rsum(self, annotations: Annotations) -> float:
        return evaluate_images(self.train(annotations), self.store, self.val).rsum


def main(regions: str, captions: str, *budgets: str) -> None:
    store = open_store(regions)
    readable = [
        name
        for name, status in zip(store.ids, store.status, strict=True)
        if status != STATUS_UNREADABLE
    ]
    corpus = assign_splits(match_ids(read_corpus(Path(captions)), readable))
    simulation = Simulation(store, corpus)
    print(f"{len(simulation.captions):,} training images, {len(simulation.val):,} val images")
    for budget in [int(each) for each in budgets] or BUDGETS:
        start = time.perf_counter()
        # A seed decides between equals alone in the other two.
        for strategy, seeds in (("random", SEEDS), ("coverage", SEEDS[:1]), ("diverse", SEEDS[:1])):
            report(
                f"{budget}, all at once: {strategy}",
                [
                    simulation.rsum(simulation.first(strategy, budget=budget, seed=seed))
                    for seed in seeds
                ],
            )
        figures: dict[str, list[float]] = {}
        for seed in SEEDS:
            half = simulation.first("random", budget=budget // 2, seed=seed)
            model = simulation.train(half)
            for strategy, has_run in SECOND:
                pool = Pool(
                    store=store,
                    corpus=corpus,
                    annotations=half,
                    run=model if has_run else None,
                    seed=seed,
                )
                new = pool.rank(strategy, count=budget - len(half.annotated)).reasons
                name = f"{budget}, second half: {strategy}" + (", with a run" if has_run else "")
                figures.setdefault(name, []).append(
                    simulation.rsum(simulation.annotate([*half.annotated, *new]))
                )
        for name, values in figures.items():
            report(name, values)
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


def report(name: str, values: list[float]) -> None:
    """A line: mean, standard deviation and the figure of each seed."""
    each = ", ".join(f"{value:.1f}" for value in values)
    spread = f" ± {statistics.stdev(values):.1f}  ({each})" if len(values) > 1 else ""
    print(f"{name:45} {statistics.mean(values):6.1f}{spread}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
