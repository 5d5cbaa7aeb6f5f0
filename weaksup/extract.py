"""The extraction stage: what is decided before the first image is read, one shard, all of them.

Images are worked on in *groups* of ``batch_size`` images that follow one another in the list. A
group is detected together, committed together, and never depends on another one: so a run that was
interrupted goes on with the very batches that it would have had, and the store's bytes depend
neither on interruptions nor on the number of our threads or shards (torch on a processor rounds by
the number of its own). A *shard* is a fixed share of the
groups and one file, which one worker at a time writes; ``weaksup.engines`` deals shards out to
several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from weaksup.analyser import ATTRIBUTE_SLOTS, Analyser, Traits, quiet_pictures
from weaksup.concepts import (
    OBJECT,
    Vocabulary,
    another_store,
    build_vocabulary,
    holds_concepts_of,
    place_for_words,
    refuse_another_stores,
    write_concepts_of,
)
from weaksup.concepts.wordnet import find_wordnet
from weaksup.concepts.words import class_names, class_words, object_words
from weaksup.detectors.base import Detector, FeatureModel
from weaksup.errors import UsageError
from weaksup.processes import processors
from weaksup.store import (
    Overwriting,
    RegionStore,
    RegionWriter,
    StorePlan,
    check_shards,
    finish_shards,
    is_begun,
    open_store,
    shard_path,
    shard_ranges,
)
from weaksup.types import STATUS_NO_REGION, Int32

BATCH_SIZE = 16

# Called with the number of images that are done, that of all, and how many this run has done.
Progress = Callable[[int, int, int], None]
# Called with the vocabulary that will be used, before the first image is read.
Opened = Callable[[Vocabulary], object]
# Yields how many images of a shard are committed.
Steps = Generator[int, None, None]


@dataclass(frozen=True)
class ExtractionReport:
    """What ``extract`` did.

    Attributes:
        store: the complete store, a file or a folder of shards.
        concepts: the file with the concepts and their counts; another one than was asked for if a
            second store had taken that one meanwhile, which a note then says.
        images: how many images the store has.
        done_before: how many of them an earlier run had committed.
        regions: how many regions, the whole images counted in.
        without_regions: how many images have the whole image as their only region.
        unreadable: (id, reason) of the images that could not be decoded.
        counts: (kind, concept, number of regions of the score threshold or more), most frequent
            first; only what occurs.
        classes: (class, number of images) by the best class of the whole image, most frequent
            first; empty without a feature model that has classes.
        notes: what the vocabulary merged or left out and the like, a sentence each.
        wordnet: whether the concepts have WordNet's synonyms and hypernyms.
    """

    store: Path
    concepts: Path
    images: int
    done_before: int
    regions: int
    without_regions: int
    unreadable: tuple[tuple[str, str], ...]
    counts: tuple[tuple[str, str, int], ...]
    classes: tuple[tuple[str, int], ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    wordnet: bool = True


def extract(
    images: Sequence[tuple[str, Path]],
    *,
    detector: Detector,
    feature_model: FeatureModel | None = None,
    out: Path,
    concepts: Path,
    concept_list: Path | None = None,
    shards: int = 1,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    overwrite: bool = False,
    opened: Opened | None = None,
    progress: Progress | None = None,
) -> ExtractionReport:
    """Detect regions and concepts in ``images`` and write the region store.

    Interrupted at any time, by anything, it goes on from the last committed group when it is
    called again with the same arguments.

    Args:
        images: (id, path), sorted by id; see ``weaksup.images.list_images``.
        detector: gives boxes and labels, and the region features if there is no feature model.
        feature_model: pools the region features in place of the detector.
        out: the store; a file, or with ``shards`` over 1 a folder.
        concepts: the concept file to write; a store that is yet to be begun is refused one that
            holds words of another store.
        concept_list: the user's own concepts; labels that it does not name are left out.
        shards: files to cut the store into.
        batch_size: images that are detected and committed together.
        workers: threads; by default one more than processors that this process may use, for one
            of them is always waiting for the interpreter.
        overwrite: replace a store that is there, also one in another number of shards, and a
            concept file that is another store's.
        opened: called with the vocabulary once nothing that is in the way has been found, before
            the first image is read.
        progress: called after each group.

    Raises:
        UsageError: if a store is there that was made otherwise, or in another number of shards;
            if the concept file is another store's.
        DataError: if the concept list is bad, or the disk is full.
    """
    extraction = plan_extraction(
        images,
        Traits.of(detector, feature_model, batch_size=batch_size),
        out=out,
        concepts=concepts,
        concept_list=concept_list,
        shards=shards,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    done = before = 0
    for shard in extraction.shards:
        with closing(extract_shard(shard, detector, feature_model, threads=workers)) as steps:
            began = next(steps)
            before += began
            if opened is not None and (began < len(shard.images) or shard is extraction.shards[-1]):
                opened(extraction.vocabulary)
                opened = None
            for step in steps:
                if progress is not None:
                    progress(done + step, len(images), done + step - before)
        done += len(shard.images)
    return extraction.finish(done_before=before)


@dataclass(frozen=True)
class Shard:
    """One file of a store: all that a worker needs to write it, beside the models; picklable.

    Attributes:
        path: the file.
        store: of which it is a part, or which it is.
        images: (id, path), in order.
        plan: what the file holds apart from the regions.
        vocabulary: what the labels are called.
        group_size: images a group.
        concepts: the concept file, whose words of this store go when it changes.
        overwrite: replace a store that is there.
        overwriting: which shards are replaced already; None for a store of one file, and without
            ``overwrite``.
    """

    path: Path
    store: Path
    images: tuple[tuple[str, Path], ...]
    plan: StorePlan
    vocabulary: Vocabulary
    group_size: int
    concepts: Path
    overwrite: bool
    overwriting: Overwriting | None


@dataclass(frozen=True)
class Extraction:
    """What is decided before the first image is read.

    Attributes:
        out: the store.
        concepts: the concept file.
        vocabulary: what the labels are called.
        shards: the files, in order; one for a store without shards.
    """

    out: Path
    concepts: Path
    vocabulary: Vocabulary
    shards: tuple[Shard, ...]

    def finish(self, *, done_before: int) -> ExtractionReport:
        """Make the shards, which are all there, one store, and write the concept file.

        If another extraction has ended in this folder meanwhile, its words stay, and those of this
        store get a file of their own.

        Args:
            done_before: how many images an earlier run had committed.
        """
        if len(self.shards) > 1:
            finish_shards(self.out, len(self.shards))
        concepts, note = self.concepts, ""
        if not self.shards[0].overwrite:
            concepts, note = place_for_words(concepts, self.out)
        report = _report(self.out, concepts, self.vocabulary, done_before=done_before)
        return replace(report, notes=(*report.notes, note)) if note else report


def plan_extraction(
    images: Sequence[tuple[str, Path]],
    traits: Traits,
    *,
    out: Path,
    concepts: Path,
    concept_list: Path | None,
    shards: int,
    batch_size: int,
    overwrite: bool,
) -> Extraction:
    """Decide what the store will be; nothing is written. Arguments and errors are ``extract``'s.

    Args:
        traits: of the models that will be used.
    """
    if not (overwrite or is_begun(out)):
        refuse_another_stores(concepts, out)
    vocabulary = build_vocabulary(traits.objects, traits.attributes, user_list=concept_list)
    wordnet = find_wordnet()

    def plan(part: Sequence[tuple[str, Path]]) -> StorePlan:
        return StorePlan(
            ids=tuple(image for image, _ in part),
            feature_size=traits.feature_size,
            attribute_slots=ATTRIBUTE_SLOTS,
            objects=vocabulary.objects,
            attributes=vocabulary.attributes,
            provenance=traits.provenance,
            class_slots=traits.class_slots,
            classes=classes,
            object_words=words_of_objects,
            class_words=words_of_classes,
        )

    classes = tuple(class_names(label)[0] for label in traits.classes)
    words_of_objects = tuple(map(tuple, object_words(vocabulary.of(OBJECT), wordnet)))
    words_of_classes = tuple(map(tuple, class_words(traits.classes, wordnet)))
    overwriting = None
    if overwrite and shards > 1:
        overwriting = Overwriting(out, plan=plan(images), group_size=batch_size)
    paths = _store_paths(out, shards, overwrite=overwrite)
    parts = [tuple(images[r.start : r.stop]) for r in shard_ranges(len(images), shards, batch_size)]
    return Extraction(
        out=out,
        concepts=concepts,
        vocabulary=vocabulary,
        shards=tuple(
            Shard(
                path=path,
                store=out,
                images=part,
                plan=plan(part),
                vocabulary=vocabulary,
                group_size=batch_size,
                concepts=concepts,
                overwrite=overwrite,
                overwriting=overwriting,
            )
            for path, part in zip(paths, parts, strict=True)
        ),
    )


def extract_shard(
    shard: Shard, detector: Detector, feature_model: FeatureModel | None, *, threads: int | None
) -> Steps:
    """Write one shard, or go on with it.

    Args:
        threads: by default one more than processors that this process may use.

    Yields:
        How many of its images are committed: first those that were before, then after each group.
        The file is whole when the iterator ends.

    Raises:
        UsageError: if a store is there that was made otherwise, or another process writes it.
        DataError: if the disk is full.
    """
    overwriting, plan = shard.overwriting, shard.plan
    replaced = overwriting is not None and shard.path.name in overwriting.done
    analyser = Analyser(detector=detector, feature_model=feature_model, vocabulary=shard.vocabulary)
    with (
        ThreadPoolExecutor(threads or processors() + 1) as pool,
        quiet_pictures(),
        RegionWriter.open(
            shard.path,
            ids=plan.ids,
            feature_size=plan.feature_size,
            attribute_slots=plan.attribute_slots,
            objects=plan.objects,
            attributes=plan.attributes,
            provenance=plan.provenance,
            group_size=shard.group_size,
            class_slots=plan.class_slots,
            classes=plan.classes,
            object_words=plan.object_words,
            class_words=plan.class_words,
            overwrite=shard.overwrite and not replaced,
        ) as writer,
    ):
        yield writer.done
        # The counts of what is replaced must not outlive it; those of another store are not ours.
        if not writer.finished and another_store(shard.concepts, shard.store) is None:
            shard.concepts.unlink(missing_ok=True)
        rest = shard.images[writer.done :]
        with closing(analyser.groups(rest, shard.group_size, pool)) as groups:
            for group in groups:
                writer.append_group(group)
                yield writer.done
        with overwriting.replacing(shard.path.name) if overwriting else nullcontext():
            writer.finish()


def _store_paths(out: Path, shards: int, *, overwrite: bool) -> list[Path]:
    if shards == 1:
        return [out]
    if out.is_file():
        raise UsageError(f"{out} is a file", "with --shards, --out names a folder")
    if not overwrite:
        check_shards(out, shards)
    return [shard_path(out, index, shards) for index in range(shards)]


def _report(
    out: Path, concepts: Path, vocabulary: Vocabulary, *, done_before: int
) -> ExtractionReport:
    store = open_store(out)
    # The names of regions that only fill up an image are guesses: they count for nothing.
    named = store.region_scores >= store.score_threshold
    counted = vocabulary.with_regions(
        objects=_count(store.region_objects[named], len(vocabulary.objects)),
        attributes=_count(store.region_attributes[named], len(vocabulary.attributes)),
    )
    # One that is there may hold counts of captions, too.
    if not holds_concepts_of(concepts, out):
        write_concepts_of(concepts, counted, store=out)
    ranking = sorted(
        ((c.kind, c.name, c.regions) for c in counted.concepts if c.regions),
        key=lambda entry: (-entry[2], entry[1]),
    )
    return ExtractionReport(
        store=out,
        concepts=concepts,
        images=len(store),
        done_before=done_before,
        regions=len(store.region_objects),
        without_regions=_without_regions(store),
        unreadable=tuple(store.problems),
        counts=tuple(ranking),
        classes=_classes_of_images(store),
        notes=vocabulary.notes,
        wordnet=vocabulary.sources["wordnet"] is not None,
    )


def _without_regions(store: RegionStore) -> int:
    return int(np.count_nonzero(store.status == STATUS_NO_REGION))


def _classes_of_images(store: RegionStore) -> tuple[tuple[str, int], ...]:
    if not store.classes:
        return ()
    # The whole image is the first region of every image that has one.
    first = store.offsets[:-1][np.diff(store.offsets) > 0]
    best = store.region_classes[first, 0]
    # By name: two classes of one name, as ImageNet's cranes are, read as one.
    counts = Counter(store.classes[row] for row in best[best >= 0].tolist())
    return tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _count(rows: Int32, names: int) -> Int32:
    used = rows[rows >= 0]
    return np.bincount(used, minlength=names).astype(np.int32)
