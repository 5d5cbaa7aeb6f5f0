"""What training may see, and batches of it.

Only the train split is here: the gold captions that ``annotations.json`` keeps, and the regions
and regional semantics of training images. Validation images and captions are held apart in an
``EvaluationSet``, which nothing but the evaluation reads.

Letters: B pairs, R regions, T tokens, D feature width, V concept words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainer.config import SemanticsConfig
from trainer.distributed import ALONE, World
from trainer.evidence import ImageEvidence
from trainer.inputs import RegionInputs
from trainer.semantics import Semantics, read_semantics
from trainer.text import UNKNOWN, TokenBatch, Vocabulary, pad
from weaksup.errors import DataError
from weaksup.store import RegionStore, readable_ids
from weaksup.types import (
    TRAIN,
    Annotations,
    CaptionedImage,
    Corpus,
    Float32,
    Int64,
)
from weaksup.wording import counted

# What a random stream is for is part of its key: no two streams may be one.
GOLD_ORDER, OTHERS_ORDER, ALTERATIONS, BANKS, STATISTICS, ENCODING = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class EvaluationSet:
    """Images and captions to rank against one another.

    Attributes:
        rows: (N,) int64, images of the store.
        captions: C sentences.
        caption_image: (C,) int64, positions in ``rows``.
    """

    rows: Int64
    captions: list[str]
    caption_image: Int64

    @classmethod
    def build(cls, store: RegionStore, images: Sequence[CaptionedImage]) -> EvaluationSet:
        """The captioned images of one split; ids must be the store's (``match_ids``)."""
        captions = [caption for image in images for caption in image.captions]
        owner = [place for place, image in enumerate(images) for _ in image.captions]
        rows = [store.index(image.id) for image in images]
        return cls(np.array(rows, dtype=np.int64), captions, np.array(owner, dtype=np.int64))


@dataclass(frozen=True)
class Batch:
    """One step's images, gold captions and regional semantics.

    The images are the annotated ones of the B gold pairs, then the un-annotated ones. Of several
    processes each has its share of what is encoded: regions, captions and semantics.

    Attributes:
        regions: of B + U images.
        image: (B + U,) int64, rows of the store: equal numbers are the same image.
        annotated: B, how many of the images lead a gold pair.
        captions: B sentences, one for each annotated image.
        semantics: U sentences of concept words, one for each un-annotated image.
        concepts: (U, V) float32, concept sets of the same.
        teacher_images: (B + U, k) float32, the teacher's embeddings; k is 0 without a teacher.
        teacher_captions: (B, k) float32.
    """

    regions: RegionInputs
    image: Tensor
    annotated: int
    captions: TokenBatch
    semantics: TokenBatch
    concepts: Tensor
    teacher_images: Tensor
    teacher_captions: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.regions.to(device),
            self.image.to(device, non_blocking=True),
            self.annotated,
            self.captions.to(device),
            self.semantics.to(device),
            self.concepts.to(device, non_blocking=True),
            self.teacher_images.to(device, non_blocking=True),
            self.teacher_captions.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU reads by itself; a ``DataLoader`` calls it."""
        return Batch(
            self.regions.pin_memory(),
            self.image.pin_memory(),
            self.annotated,
            self.captions.pin_memory(),
            self.semantics.pin_memory(),
            self.concepts.pin_memory(),
            self.teacher_images.pin_memory(),
            self.teacher_captions.pin_memory(),
        )


@dataclass
class Teacher:
    """A teacher's view of the training data (trainer/teacher.py). A run's state holds it.

    Attributes:
        images: (N, k) float32, L2-normalised, in the order of ``TrainingData.rows``.
        captions: (G, k) float32, L2-normalised, in the order of the gold captions.
    """

    images: Float32
    captions: Float32

    @classmethod
    def unread(cls) -> Teacher:
        """One that a state is still to be loaded into; N, G and k are 0."""
        return cls(np.zeros((0, 0), dtype=np.float32), np.zeros((0, 0), dtype=np.float32))

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "images": torch.from_numpy(self.images),
            "captions": torch.from_numpy(self.captions),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.images, self.captions = state["images"].numpy(), state["captions"].numpy()


@dataclass(frozen=True)
class TrainingData:
    """The training part of a workspace.

    Attributes:
        store: open region store.
        rows: (N,) int64, training images: the annotated ones, then the others.
        annotated: how many of ``rows`` have gold captions.
        gold_image: (G,) int64, the position in ``rows`` of each gold caption's image.
        gold_captions: G sentences.
        semantics: of ``rows``.
        vocabulary: of the gold captions and the concepts.
    """

    store: RegionStore
    rows: Int64
    annotated: int
    gold_image: Int64
    gold_captions: list[str]
    semantics: Semantics
    vocabulary: Vocabulary

    @property
    def unannotated(self) -> int:
        """How many of ``rows`` have no gold caption."""
        return len(self.rows) - self.annotated

    @property
    def knows_unannotated(self) -> bool:
        """Whether anything is known by its name in an un-annotated image."""
        return any(self.semantics.phrases[self.annotated :])

    @classmethod
    def build(
        cls,
        store: RegionStore,
        corpus: Corpus,
        annotations: Annotations,
        *,
        unannotated: bool,
        semantics: SemanticsConfig,
        min_count: int,
    ) -> TrainingData:
        """Join the store with the captions that are kept. Unreadable images are left out.

        Args:
            store: open region store.
            corpus: with splits, and with the ids of the store (``match_ids``).
            annotations: which captions are kept.
            unannotated: whether un-annotated images are read; a baseline sees nothing of them.
            semantics: which concept words of an image are read.
            min_count: a caption word that is rarer is unknown.

        Raises:
            DataError: if the annotations were made from other captions, name an image that is
                held out, or no gold caption is left for an image of the store.
        """
        known = {identity: store.index(identity) for identity in readable_ids(store)}
        if annotations.fingerprint != corpus.fingerprint:
            raise DataError(
                f"the annotations were made from other captions than {corpus.source}",
                "run `weaksup subsample` again, or name the captions with --captions",
            )
        _check_held_out(corpus, annotations)
        _check_known(store, corpus, annotations)
        images = {image.id: image for image in corpus.images if image.split == TRAIN}
        annotated = [i for i in annotations.annotated if i in known and i in images]
        others = [i for i in annotations.unannotated if i in known] if unannotated else []
        captions, owner = [], []
        for place, identity in enumerate(annotated):
            for index in annotations.captions_kept[identity]:
                captions.append(images[identity].captions[index])
                owner.append(place)
        if not captions:
            raise DataError(
                "no image of the region store has a gold caption in annotations.json",
                "run `weaksup subsample` on this store's captions",
            )
        rows = np.array([known[i] for i in (*annotated, *others)], dtype=np.int64)
        vocabulary = Vocabulary.build(captions, min_count=min_count)
        said = read_semantics(
            store,
            rows,
            threshold=semantics.threshold,
            word_threshold=semantics.word_threshold,
            attributes=semantics.attributes,
            spoken=set(vocabulary.words),
        )
        names = {phrase for phrases in said.phrases for phrase in phrases}
        return cls(
            store,
            rows,
            len(annotated),
            np.array(owner, dtype=np.int64),
            captions,
            said,
            vocabulary.with_names(names),
        )


def _check_held_out(corpus: Corpus, annotations: Annotations) -> None:
    """Refuse annotations that would train on an image of val or test."""
    held_out = {image.id for image in corpus.images if image.split != TRAIN}
    wrong = [i for i in (*annotations.annotated, *annotations.unannotated) if i in held_out]
    if wrong:
        raise DataError(
            f"the annotations name {counted(len(wrong), 'image')} outside the train split of "
            f"{corpus.source}, such as {wrong[0]}",
            "run `weaksup subsample` again",
        )


def _check_known(store: RegionStore, corpus: Corpus, annotations: Annotations) -> None:
    """Refuse annotations of images or captions that are not there."""
    known = set(store.ids)
    wrong = [i for i in (*annotations.annotated, *annotations.unannotated) if i not in known]
    if wrong:
        raise DataError(
            f"the annotations name {counted(len(wrong), 'image')} not in {store.path}, such as "
            f"{wrong[0]}",
            "run `weaksup subsample` again, after `weaksup extract`",
        )
    images = {image.id: image for image in corpus.images}
    for identity, indices in annotations.captions_kept.items():
        count = len(images[identity].captions) if identity in images else 0
        if max(indices) >= count:
            raise DataError(
                f"the annotations keep caption {max(indices)} of {identity}, which has {count} in "
                f"{corpus.source}",
                "run `weaksup subsample` again",
            )


class BatchDataset(Dataset[Batch]):
    """The batches of one epoch: item ``step`` depends on (seed, epoch, step) alone.

    So an interrupted epoch goes on at any step, with any number of workers, exactly as it would
    have gone.

    Args:
        data: what to draw from.
        seed: of the run.
        epoch: counted from 0.
        batch_size: gold pairs a step.
        unannotated_size: un-annotated images a step.
        max_regions: the most confident regions that are read; None reads all.
        word_drop: share of caption words that become unknown.
        word_removal: share of caption words that are left out.
        concept_drop: share of concept phrases that are left out.
        teacher: whose embeddings go along; None leaves them out.
        world: whose share of each batch is read; the batches do not depend on it.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        unannotated_size: int,
        max_regions: int | None,
        word_drop: float,
        word_removal: float,
        concept_drop: float,
        teacher: Teacher | None = None,
        world: World = ALONE,
    ) -> None:
        self.world = world
        self.data, self.teacher = data, teacher
        self.seed, self.epoch = seed, epoch
        self.max_regions = max_regions
        self.word_drop, self.word_removal = word_drop, word_removal
        self.concept_drop = concept_drop
        pairs = len(data.gold_captions)
        self.steps = max(1, round(pairs / batch_size))
        # An epoch shows every gold pair once; batches differ in size by one at most, so that no
        # tiny last batch starves the in-batch negatives.
        order = np.random.default_rng([seed, GOLD_ORDER, epoch]).permutation(pairs)
        self.gold = np.array_split(order, self.steps)
        others = data.unannotated
        self.others = self._unannotated(others, min(unannotated_size, others))

    def _unannotated(self, others: int, size: int) -> list[Int64]:
        """``size`` un-annotated positions a step; all are seen before one is seen again."""
        if not size:
            return [np.zeros(0, dtype=np.int64)] * self.steps
        start, stop = self.epoch * self.steps * size, (self.epoch + 1) * self.steps * size
        turns = range(start // others, (stop - 1) // others + 1)
        order = np.concatenate(
            [
                np.random.default_rng([self.seed, OTHERS_ORDER, turn]).permutation(others)
                for turn in turns
            ]
        )
        first = start - turns.start * others
        drawn = order[first : first + self.steps * size] + self.data.annotated
        return list(drawn.reshape(self.steps, size))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        generator = np.random.default_rng([self.seed, ALTERATIONS, self.epoch, step])
        data, gold = self.data, self.gold[step]
        others = self.others[step]
        places = np.concatenate((data.gold_image[gold], others))
        captions = [data.vocabulary.encode(data.gold_captions[g]) for g in gold]
        # All are altered, whatever is kept: no process may see other random numbers.
        semantics = [self._sentence(data.semantics.phrases[p], generator) for p in others]
        captions = [self._alter(caption, generator) for caption in captions]
        share = self.world.share
        teacher = self.teacher
        return Batch(
            regions=read_regions(
                data.store, data.rows[places[share(len(places))]], max_regions=self.max_regions
            ),
            image=torch.from_numpy(data.rows[places]),
            annotated=len(gold),
            captions=pad(captions[share(len(gold))]),
            semantics=pad(semantics[share(len(others))]),
            concepts=torch.from_numpy(data.semantics.concepts[others]).float(),
            teacher_images=_rows_of(teacher.images if teacher else None, places),
            teacher_captions=_rows_of(teacher.captions if teacher else None, gold),
        )

    def _alter(self, words: list[int], generator: np.random.Generator) -> list[int]:
        """A caption with some words unknown and some left out, but never without any."""
        if not (self.word_drop or self.word_removal):
            return words
        kept = []
        for word in words:
            chance = generator.random()
            if chance < self.word_drop:
                kept.append(UNKNOWN)
            elif chance >= self.word_drop + self.word_removal:
                kept.append(word)
        return kept or words

    def _sentence(self, phrases: list[str], generator: np.random.Generator) -> list[int]:
        kept = [p for p in phrases if generator.random() >= self.concept_drop] or phrases
        return self.data.vocabulary.encode(" ".join(kept))


def _rows_of(values: Float32 | None, rows: Int64) -> Tensor:
    return torch.zeros(len(rows), 0) if values is None else torch.from_numpy(values[rows])


def read_regions(store: RegionStore, rows: Int64, *, max_regions: int | None) -> RegionInputs:
    """Read images of a store as padded float32 tensors, features as their signed square roots.

    The root evens out features that are mostly small and seldom large, as those of networks with
    rectified units are: all models gain from it. Source: Perronnin, Sanchez, Mensink, "Improving
    the Fisher Kernel for Large-Scale Image Classification", ECCV 2010, section 3.2.

    Args:
        rows: (B,) int64, in any order, repeats allowed.
        max_regions: the most confident regions that are read; None reads all.
    """
    batch = store.gather(rows, max_regions=max_regions)
    return RegionInputs(
        signed_root(torch.from_numpy(batch.features).float()),
        torch.from_numpy(batch.boxes),
        torch.from_numpy(batch.mask),
    )


def signed_root(features: Tensor) -> Tensor:
    """sign(x) sqrt(|x|) of float32 in main memory, element by element."""
    # numpy's root: torch's takes 14 times as long on a processor.
    values = features.numpy()
    root = np.abs(values)
    return torch.from_numpy(np.copysign(np.sqrt(root, out=root), values, out=root))


def read_images(
    store: RegionStore,
    rows: Int64,
    *,
    max_regions: int,
    evidence: bool,
    device: torch.device,
) -> tuple[RegionInputs, ImageEvidence | None]:
    """What ``EmbeddingModel.join_images`` takes: regions, and the evidence where it is read."""
    regions = read_regions(store, rows, max_regions=max_regions).to(device)
    if not evidence:
        return regions, None
    return regions, ImageEvidence.read(store, rows).to(device)
