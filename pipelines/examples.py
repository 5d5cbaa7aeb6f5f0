"""Rows for the demo's picture, chosen by a rule and not by how well they come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.picture import Example
from trainer.evaluate import choose_split
from trainer.run import load_run
from weaksup.corpora import match_ids, read_corpus
from weaksup.inspect.boxes import named_boxes
from weaksup.store import open_store
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
