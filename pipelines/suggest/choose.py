"""The images to write captions for: what each strategy reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from pipelines.suggest.rankings import (
    Ranking,
    by_chance,
    by_coverage,
    by_diversity,
    by_uncertainty,
    fused,
    shuffled,
)
from trainer.run import Towers
from weaksup.diversity import standardise
from weaksup.errors import DataError, UsageError
from weaksup.store import RegionStore, pool_features, readable_ids
from weaksup.subsample import ImageConcepts
from weaksup.types import TRAIN, Annotations, Corpus, Float32

StrategyName = Literal["coverage", "diverse", "uncertain", "mixed", "random"]
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
# Of weaksup suggest and of the report: what did best where it was measured (docs/suggest.md).
DEFAULT: StrategyName = "diverse"


def check_fits(corpus: Corpus, annotations: Annotations) -> None:
    """Refuse annotations that were made from other captions.

    Raises:
        DataError: if they were.
    """
    if annotations.fingerprint != corpus.fingerprint:
        raise DataError(
            f"the annotations were made from other captions than {corpus.source}",
            "run `weaksup subsample` again",
        )


class Pool:
    """The training images, and what is known of them.

    Args:
        store: open.
        corpus: with splits, and with the ids of the store.
        annotations: made from the corpus.
        run: a trained model, or None.
        seed: of the order of what is equal.

    Attributes:
        candidates: readable un-annotated training images, shuffled.

    Raises:
        DataError: if the annotations are of other captions, or there is no candidate.
    """

    def __init__(
        self,
        *,
        store: RegionStore,
        corpus: Corpus,
        annotations: Annotations,
        run: Towers | None,
        seed: int,
    ) -> None:
        check_fits(corpus, annotations)
        readable = {*readable_ids(store)}
        self.store, self.corpus, self.annotations, self.run = store, corpus, annotations, run
        self.annotated = [name for name in annotations.annotated if name in readable]
        self.candidates = shuffled(
            [name for name in annotations.unannotated if name in readable], seed=seed
        )
        if not self.candidates:
            raise DataError(
                "every training image is annotated already",
                "put more images into the image folder, and run `weaksup extract --overwrite`",
            )

    def rank(self, strategy: StrategyName, *, count: int) -> Ranking:
        """The best images by one strategy.

        Args:
            strategy: ``mixed`` fuses coverage, diverse and, with a run, uncertain.
            count: images, at most: fewer where there are fewer, or where no more show a concept.

        Raises:
            UsageError: if uncertainty is asked for without a run.
        """
        ways: dict[StrategyName, Callable[[int], Ranking]] = {
            "random": lambda count: by_chance(self.candidates),
            "coverage": self._coverage,
            "diverse": self._diverse,
            "uncertain": lambda count: self._uncertain(),
        }
        if strategy == "mixed":
            names: list[StrategyName] = ["diverse", "coverage"]
            names += ["uncertain"] if self.run is not None else []
            ranking = fused([ways[name](len(self.candidates)) for name in names])
        else:
            ranking = ways[strategy](count)
        return Ranking(ranking.name, dict(list(ranking.reasons.items())[:count]))

    def _coverage(self, count: int) -> Ranking:
        concepts = ImageConcepts.of_store(self.store, min_score=self.store.score_threshold)
        return by_coverage(self.annotations, concepts, count=count)

    def _diverse(self, count: int) -> Ranking:
        names = [*self.candidates, *self.annotated]
        vectors = (
            self._embedded(self.run, names)
            if self.run is not None
            else standardise(pool_features(self.store, names))
        )
        known = len(self.candidates)
        return by_diversity(self.candidates, vectors[:known], vectors[known:], count=count)

    def _uncertain(self) -> Ranking:
        if self.run is None:
            raise UsageError(
                "uncertainty is that of a run, and there is none", "name one with --run DIR"
            )
        kept = self.annotations.captions_kept
        captioned = [
            image for image in self.corpus.split(TRAIN) if image.id in kept and image.captions
        ]
        texts = [image.captions[index] for image in captioned for index in kept[image.id]]
        owner = [place for place, image in enumerate(captioned) for _ in kept[image.id]]
        return by_uncertainty(
            self.candidates,
            self._embedded(self.run, self.candidates),
            self.run.encode_texts(texts),
            np.array(owner, dtype=np.int64),
        )

    def _embedded(self, run: Towers, names: list[str]) -> Float32:
        rows = np.array([self.store.index(name) for name in names], dtype=np.int64)
        return run.encode_images(self.store, rows)
