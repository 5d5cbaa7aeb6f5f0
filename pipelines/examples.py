"""Rows for the demo's picture, chosen by a rule and not by how well they come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.picture import Example, NamedBox
from trainer.evaluate import choose_split
from trainer.run import load_run
from weaksup.attributes import POSITIONS, SIZES
from weaksup.corpora import match_ids, read_corpus
from weaksup.store import RegionStore, open_store
from weaksup.types import TEST


def choose_examples(run: Path, *, images: Path, count: int, top: int) -> list[Example]:
    """Evenly spaced test images; the longest sentence of each is searched for with ``run``.

    The longest sentence tells most: short ones ("a star at night") fit many pictures.

    Args:
        run: folder of a trained run, whose own store and captions are used.
        images: the folder that the store's ids are relative to.
        count: examples, at most.
        top: results of each, at most.
    """
    model = load_run(run)
    store = open_store(model.regions)
    tested = choose_split(match_ids(read_corpus(model.captions), store.ids), store, TEST).images
    rows = np.array([store.index(image.id) for image in tested], dtype=np.int64)
    spaced = np.linspace(0, len(tested) - 1, min(count, len(tested))).round().astype(int)
    sentences = [max(tested[place].captions, key=len) for place in spaced]
    scores = model.encode_texts(sentences) @ model.encode_images(store, rows).T
    threshold = model.description.config.semantics.threshold
    examples = []
    for place, sentence, row in zip(spaced, sentences, scores, strict=True):
        order = np.argsort(-row, kind="stable")[:top]
        examples.append(
            Example(
                scene=images / tested[place].id,
                boxes=named_boxes(store, int(rows[place]), threshold=threshold),
                sentence=sentence,
                results=tuple(images / tested[other].id for other in order),
                rank=int(np.count_nonzero(row >= row[place])),
            )
        )
    return examples


def named_boxes(store: RegionStore, index: int, *, threshold: float) -> tuple[NamedBox, ...]:
    """The regions of one image that say something, with their concepts.

    Args:
        store: open region store.
        index: of the image.
        threshold: regions of a lower score say nothing to the trainer either.
    """
    regions = store.regions(index)
    found = []
    for box, score, thing, slots in zip(
        regions.boxes, regions.scores, regions.objects, regions.attributes, strict=True
    ):
        if thing < 0 or score < threshold:
            continue
        # Where it stands is plain to see in a picture.
        words = [store.attributes[word] for word in slots if word >= 0]
        words = sorted((w for w in words if w not in POSITIONS), key=lambda w: w not in SIZES)
        x1, y1, x2, y2 = box.tolist()
        found.append(NamedBox((x1, y1, x2, y2), " ".join([*words, store.objects[thing]])))
    return tuple(found)
