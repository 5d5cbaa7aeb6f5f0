"""Which training images keep their gold captions, for a given budget.

A strategy puts what may be kept in an order, and a ratio keeps the first part of it: so, for one
seed, a smaller ratio's set lies inside a larger one's. Only the train split is looked at; the
regions of val and test images play no part either.

Letters: N images, V concepts, P pairs of an image and a concept that it shows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from weaksup.corpora.annotations import UNITS
from weaksup.diversity import representative_first, standardise
from weaksup.errors import DataError, UsageError
from weaksup.registry import Registry
from weaksup.store import RegionStore
from weaksup.types import TRAIN, Annotations, Corpus, Float32, Int32

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

# `coverage` takes an image that gains this share of what the best one would: hundreds of images
# for each look at all of them, where exact greed needs a look for each image.
GREED = 0.95


@dataclass(frozen=True)
class ImageConcepts:
    """Which concepts images show, in rows one image after the other.

    Attributes:
        names: V names, objects before attributes.
        ids: N image ids.
        starts: (N+1,) int64; image i has ``rows[starts[i]:starts[i+1]]``.
        rows: (P,) int32, rows of ``names``, rising and each once within an image.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    starts: Int64
    rows: Int32

    def of(self, ids: Iterable[str]) -> ImageConcepts:
        """The concepts of some images, in their order; of one that is not known, none."""
        wanted = tuple(ids)
        places = {name: place for place, name in enumerate(self.ids)}
        parts = [
            self.rows[self.starts[place] : self.starts[place + 1]]
            if (place := places.get(name)) is not None
            else self.rows[:0]
            for name in wanted
        ]
        starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return ImageConcepts(self.names, wanted, starts, np.concatenate([self.rows[:0], *parts]))

    @classmethod
    def of_store(cls, store: RegionStore, *, min_score: float = 0.0) -> ImageConcepts:
        """The concepts of all images of a store: the words of its regional semantics.

        Args:
            store: read without its features.
            min_score: leave out regions below it. A store holds a few such regions of images that
                would have too few, for their features; their names are guesses.
        """
        images = np.repeat(np.arange(len(store), dtype=np.int64), np.diff(store.offsets))
        attributes = store.region_attributes
        slots = attributes.shape[1]
        # An attribute's row stands behind those of the objects.
        columns = np.column_stack(
            [store.region_objects, np.where(attributes < 0, -1, attributes + len(store.objects))]
        )
        size = len(store.objects) + len(store.attributes)
        # The whole image and other regions without an object say nothing.
        said = (store.region_objects >= 0) & (store.region_scores >= min_score)
        named = (said[:, None] & (columns >= 0)).ravel()
        pairs = np.unique((images.repeat(1 + slots) * size + columns.ravel())[named])
        owners, rows = np.divmod(pairs, max(size, 1))
        return cls(
            names=(*store.objects, *store.attributes),
            ids=tuple(store.ids),
            starts=np.searchsorted(owners, np.arange(len(store) + 1)),
            rows=rows.astype(np.int32),
        )

    def frequency(self) -> Int64:
        """(V,) how many of the images show each concept."""
        return np.bincount(self.rows, minlength=len(self.names)).astype(np.int64)


# Ids of N images to one vector each, (N, D) float32.
ImageFeatures = Callable[[Sequence[str]], Float32]


@dataclass(frozen=True)
class Item:
    """What is kept or not: captions of one image, by their indices."""

    image: str
    captions: tuple[int, ...]


@dataclass(frozen=True)
class Pool:
    """What a strategy may look at: training images only, and no caption's text.

    Attributes:
        items: an image with all its captions each, or one caption each.
        seed: of every random choice.
        concepts: of all training images, the un-captioned ones too; None without a store.
        features: how images look, read when it is called; None without a store.
    """

    items: tuple[Item, ...]
    seed: int
    concepts: ImageConcepts | None
    features: ImageFeatures | None

    def by_image(self) -> dict[str, list[Item]]:
        """The items of each image, in the seed's order."""
        found: dict[str, list[Item]] = {}
        for item in self.shuffled():
            found.setdefault(item.image, []).append(item)
        return found

    def shuffled(self) -> list[Item]:
        """The items in the seed's order; an item's place among others depends on no third one."""

        def key(item: Item) -> bytes:
            text = f"{self.seed}\n{item.captions[0]}\n{item.image}"
            return hashlib.sha256(text.encode("utf-8")).digest()

        return sorted(self.items, key=key)


Strategy = Callable[[Pool], Iterable[Item]]
STRATEGIES: Registry[Strategy] = Registry("strategy")


def subsample(
    corpus: Corpus,
    *,
    ratio: float,
    unit: str = "image",
    strategy: str = "random",
    seed: int = 0,
    store_ids: Sequence[str] = (),
    concepts: ImageConcepts | None = None,
    features: ImageFeatures | None = None,
) -> Annotations:
    """Choose the training images that keep gold captions.

    Args:
        corpus: with splits assigned and, where there is a store, the store's ids.
        ratio: share of the training images (``unit`` image) or of their captions (``unit``
            caption) that is kept, over 0 and up to 1; rounded to whole ones, at least one.
        unit: ``image`` keeps all captions of an image or none; ``caption`` keeps single captions,
            and an image that keeps one is annotated.
        strategy: a name in :data:`STRATEGIES`.
        seed: of every random choice.
        store_ids: readable images of the store; those that the corpus does not name are
            un-annotated training images.
        concepts: what the store's images show, for strategies that need it. Any images: those of
            val and test are left out here.
        features: how the store's images look, for strategies that need it; called for captioned
            training images alone.

    Raises:
        UsageError: for a ratio out of range, an unknown unit or strategy.
        DataError: if the train split is empty, or the strategy needs concepts or features and
            there are none.
    """
    order = STRATEGIES.get(strategy)
    if not 0 < ratio <= 1:
        raise UsageError(f"ratio {ratio} is not over 0 and up to 1", "for example --ratio 0.2")
    if unit not in UNITS:
        raise UsageError(f"unknown unit '{unit}'", f"known units: {', '.join(UNITS)}")
    captioned = corpus.split(TRAIN)
    if not captioned:
        raise DataError(
            f"no image of {corpus.source} is in the train split",
            "subsample chooses among captioned training images; see the splits in the file",
        )
    training = training_ids(corpus, store_ids)
    everything = [Item(image.id, tuple(range(len(image.captions)))) for image in captioned]
    if unit == "caption":
        items = [Item(item.image, (index,)) for item in everything for index in item.captions]
    else:
        items = everything
    shown = concepts.of(training) if concepts is not None else None
    pool = Pool(tuple(items), seed, shown, features)
    budget = max(1, math.floor(ratio * len(items) + 0.5))
    kept: dict[str, list[int]] = {}
    for item in islice(order(pool), budget):
        kept.setdefault(item.image, []).extend(item.captions)
    return Annotations(
        ratio=ratio,
        unit=unit,
        strategy=strategy,
        seed=seed,
        captions=corpus.source,
        fingerprint=corpus.fingerprint,
        annotated=tuple(sorted(kept)),
        unannotated=tuple(sorted(set(training) - kept.keys())),
        captions_kept={image: tuple(sorted(kept[image])) for image in sorted(kept)},
    )


@dataclass(frozen=True)
class Coverage:
    """How much of what training images show the annotated ones show, too.

    Attributes:
        concepts: how many concepts training images show.
        covered: how many of them an annotated image shows.
        occurrences: pairs of an un-annotated training image and a concept that it shows.
        occurrences_covered: those whose concept an annotated image shows.
        missing: concepts that no annotated image shows and how many images do, most first.
    """

    concepts: int
    covered: int
    occurrences: int
    occurrences_covered: int
    missing: tuple[tuple[str, int], ...]


def measure_coverage(annotations: Annotations, concepts: ImageConcepts) -> Coverage:
    """How well the annotated images cover the concepts of all training images."""
    shown = concepts.of(annotations.annotated).frequency()
    rest = concepts.of(annotations.unannotated).frequency()
    lacking = np.flatnonzero((shown == 0) & (rest > 0))
    lacking = lacking[np.argsort(-rest[lacking], kind="stable")]
    return Coverage(
        concepts=int(np.count_nonzero(shown + rest)),
        covered=int(np.count_nonzero(shown)),
        occurrences=int(rest.sum()),
        occurrences_covered=int(rest[shown > 0].sum()),
        missing=tuple((concepts.names[row], int(rest[row])) for row in lacking),
    )


@dataclass(frozen=True)
class Suggestion:
    """An image that is worth a caption.

    Attributes:
        image: its id.
        gain: what it adds to the sum of :func:`coverage`.
        concepts: that it shows, with the number of annotated images (those that were suggested
            before it, too) that show them; the least covered first.
    """

    image: str
    gain: float
    concepts: tuple[tuple[str, int], ...]


def suggest(
    annotations: Annotations, concepts: ImageConcepts, *, count: int
) -> tuple[Suggestion, ...]:
    """Un-annotated training images whose concepts the annotated ones cover least.

    The order of :func:`coverage`, gone on with from what is annotated already.

    Args:
        annotations: of the training images.
        concepts: of the store.
        count: images, at most; those that would add nothing are left out.
    """
    rest = concepts.of(annotations.unannotated)
    covered = concepts.of(annotations.annotated).frequency().astype(np.float64)
    weights = np.sqrt(rest.frequency() + covered)
    found = []
    for place in islice(_greedy(rest, weights, covered.copy()), count):
        own = rest.rows[rest.starts[place] : rest.starts[place + 1]]
        gain = float((weights[own] * np.log((covered[own] + 2) / (covered[own] + 1))).sum())
        if gain <= 0:
            break
        shown = sorted(own.tolist(), key=lambda row: (covered[row], -weights[row]))
        found.append(
            Suggestion(
                rest.ids[place],
                gain,
                tuple((concepts.names[row], int(covered[row])) for row in shown),
            )
        )
        covered[own] += 1
    return tuple(found)


def training_ids(corpus: Corpus, store_ids: Sequence[str] = ()) -> list[str]:
    """The images that training may see: captioned ones of train, and those no caption names."""
    named = {image.id for image in corpus.images}
    captioned = [image.id for image in corpus.split(TRAIN)]
    return captioned + [name for name in store_ids if name not in named]


@STRATEGIES.register("random")
def random(pool: Pool) -> list[Item]:
    """Every image, or every caption, with the same chance."""
    return pool.shuffled()


@STRATEGIES.register("coverage")
def coverage(pool: Pool) -> Iterator[Item]:
    """First the images whose concepts cover most of what un-annotated images show.

    Greedy for ``sum over c of sqrt(n_c) log(1 + k_c)``: n_c training images show concept c, k_c
    of them are kept. The logarithm makes another image with a concept worth less than the first
    ones, and never nothing, so that the order goes on after each concept is covered once. With
    n_c for the root of it, common concepts would have the share that a random sample gives them;
    with 1, the budget would go to rare ones. Each image that is taken gains at least
    :data:`GREED` of what the best one would.

    By caption, every image comes once, in that order, before any comes again.

    Raises:
        DataError: if there is no store to read concepts from.
    """
    if pool.concepts is None:
        raise DataError(
            "the strategy 'coverage' needs the concepts of the images",
            "run `weaksup extract` first, or use --strategy random",
        )
    by_image = pool.by_image()
    weights = np.sqrt(pool.concepts.frequency())
    yield from _in_turns(list(by_image.values()), _greedy(pool.concepts.of(by_image), weights))


@STRATEGIES.register("diverse")
def diverse(pool: Pool) -> Iterator[Item]:
    """First the images that look most like all the others, and unlike one another.

    The order of :func:`~weaksup.diversity.representative_first` on features that are standardised
    over the captioned training images: its costs are there. Each image's features are read once,
    and their means, 4 N D bytes for N images of D features, are held in memory.

    By caption, every image comes once, in that order, before any comes again.

    Raises:
        DataError: if there is no store to read features from.
    """
    if pool.features is None:
        raise DataError(
            "the strategy 'diverse' needs the region features of the images",
            "run `weaksup extract` first, or use --strategy random",
        )
    by_image = pool.by_image()
    vectors = standardise(pool.features(list(by_image)))
    yield from _in_turns(list(by_image.values()), representative_first(vectors))


def _in_turns(images: Sequence[Sequence[Item]], order: Iterable[int]) -> Iterator[Item]:
    """One item of each image, in the order of their places, then a second one, and so on."""
    taken = []
    for place in order:
        taken.append(images[place])
        yield taken[-1][0]
    for turn in range(1, max(map(len, taken))):
        yield from (items[turn] for items in taken if len(items) > turn)


def _greedy(
    concepts: ImageConcepts, weights: Float64, covered: Float64 | None = None
) -> Iterator[int]:
    """Places of the images, the most useful first; equals in the order in which they stand.

    Args:
        concepts: of N images.
        weights: (V,) w in ``sum over c of w_c log(1 + k_c)``, see :func:`coverage`.
        covered: (V,) k at the beginning, changed in place; None for none.
    """
    starts, rows = concepts.starts, concepts.rows
    counts = np.zeros(len(weights)) if covered is None else covered
    # What one more image with a concept gains. A gain only ever falls, so an image that still
    # reaches the bar set by the best gain of a look is nearly the best now.
    gains = weights * np.log((counts + 2) / (counts + 1))
    left = np.ones(len(concepts.ids), dtype=np.bool_)
    while left.any():
        sums = np.concatenate([[0.0], np.cumsum(gains[rows])])
        totals = np.where(left, sums[starts[1:]] - sums[starts[:-1]], -1.0)
        # The running sum is rounded: the margin keeps the best image itself over the bar.
        bar = max(0.0, GREED * float(totals.max()) - 1e-9 * float(sums[-1]))
        places = np.flatnonzero(totals >= bar)
        for place in places[np.argsort(-totals[places], kind="stable")].tolist():
            own = rows[starts[place] : starts[place + 1]]
            if gains[own].sum() < bar:
                continue
            left[place] = False
            counts[own] += 1
            gains[own] = weights[own] * np.log((counts[own] + 2) / (counts[own] + 1))
            yield place
