"""How far apart are what the adversary brings together? Two runs' domains, in two dimensions.

    weaksup train --name plain
    weaksup train --name adversary --set loss.w_adv=0.1
    python -m benchmarks.domains RUN RUN --out domains.png

For each run: captions and regional semantics, annotated and un-annotated images, as the network
embeds them. Dots are their two first principal components; the figure above is the balanced
accuracy of a linear classifier of the domain, on the half of the vectors that it was not fitted
on: 50 % is guessing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from pipelines.compare.plot_style import COLOURS, DPI, STYLE
from trainer.data import TrainingData, read_regions
from trainer.models.base import evaluating
from trainer.run import Run, load_run
from trainer.text import pad
from weaksup.corpora import match_ids, read_annotations, read_corpus
from weaksup.errors import DataError
from weaksup.store import open_store
from weaksup.types import Float32

SHOWN = 1000  # of each domain
CHUNK = 256
RIDGE = 1.0


@dataclass(frozen=True)
class Pair:
    """Vectors of two domains of one modality.

    Attributes:
        names: of the domains.
        vectors: (N, d) and (M, d) float32.
    """

    names: tuple[str, str]
    vectors: tuple[Float32, Float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of a3vse runs")
    parser.add_argument("--out", type=Path, default=Path("domains.png"))
    arguments = parser.parse_args()
    columns = [(folder.name, read_pairs(load_run(folder))) for folder in arguments.runs]
    draw(columns, arguments.out)
    print("| run | domains | linear classifier is right in |\n|---|---|---|")
    for name, pairs in columns:
        for pair in pairs:
            print(f"| `{name}` | {' / '.join(pair.names)} | {separability(pair):.1%} |")


def read_pairs(run: Run) -> list[Pair]:
    """Texts and images of a run's training data, as its network embeds them."""
    description = run.description
    store = open_store(run.regions)
    data = TrainingData.build(
        store,
        match_ids(read_corpus(run.captions), store.ids),
        read_annotations(description.annotations),
        unannotated=True,
        semantics=description.config.semantics,
        min_count=description.config.text.min_count,
    )
    generator = np.random.default_rng(0)
    others = np.arange(data.annotated, len(data.rows))
    if not len(others):
        raise DataError(
            f"every training image of {run.captions} is annotated: there is one domain",
            "name runs that were trained with fewer captions",
        )
    captions = [data.gold_captions[i] for i in _some(generator, np.arange(len(data.gold_captions)))]
    # As training has it: annotated images have captions, and no list of words.
    said = [place for place in others if data.semantics.phrases[place]]
    semantics = [" ".join(data.semantics.phrases[i]) for i in _some(generator, np.array(said))]
    images = [data.rows[_some(generator, side)] for side in (np.arange(data.annotated), others)]
    return [
        Pair(("captions", "regional semantics"), (_texts(run, captions), _texts(run, semantics))),
        Pair(
            ("annotated images", "un-annotated images"),
            (_images(run, data, images[0]), _images(run, data, images[1])),
        ),
    ]


def _some(generator: np.random.Generator, places: np.ndarray) -> np.ndarray:
    return generator.permutation(places)[:SHOWN]


def _texts(run: Run, sentences: Sequence[str]) -> Float32:
    tokens = [run.vocabulary.encode(sentence) for sentence in sentences]
    with evaluating(run.model):
        parts = [
            run.model.encode_texts(pad(tokens[start : start + CHUNK])).pooled
            for start in range(0, len(tokens), CHUNK)
        ]
    return torch.cat(parts).numpy()


def _images(run: Run, data: TrainingData, rows: np.ndarray) -> Float32:
    with evaluating(run.model):
        parts = [
            run.model.encode_images(
                read_regions(data.store, rows[start : start + CHUNK], max_regions=run.max_regions)
            ).pooled
            for start in range(0, len(rows), CHUNK)
        ]
    return torch.cat(parts).numpy()


def separability(pair: Pair) -> float:
    """Balanced accuracy of ridge regression on one half of each domain, on the other half."""
    halves = []
    for start in (0, 1):
        parts = [vectors[start::2] for vectors in pair.vectors]
        signs = np.concatenate(
            [np.full(len(part), sign) for part, sign in zip(parts, (-1, 1), strict=True)]
        )
        halves.append((np.concatenate(parts), signs))
    (x, y), (tested, expected) = halves
    mean = x.mean(0)
    x = x - mean
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    right = (((tested - mean) @ weights) > 0) == (expected > 0)
    return float(np.mean([right[expected == side].mean() for side in (-1, 1)]))


def draw(columns: Sequence[tuple[str, Sequence[Pair]]], path: Path) -> None:
    """A column for each run, a row for texts and one for images."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(3.6 * len(columns), 7.0), layout="constrained")
        panels = figure.subplots(2, len(columns), squeeze=False)
        for column, (name, pairs) in enumerate(columns):
            for row, pair in enumerate(pairs):
                axes = panels[row, column]
                both = np.concatenate(pair.vectors)
                mean = both.mean(0)
                plane = np.linalg.svd(both - mean, full_matrices=False)[2][:2].T
                dots = [(vectors - mean) @ plane for vectors in pair.vectors]
                for each, label, colour in zip(dots, pair.names, COLOURS, strict=False):
                    axes.scatter(*each.T, s=4, alpha=0.5, color=colour, label=label, linewidths=0)
                axes.set_title(f"{name}: told apart in {separability(pair):.0%}", loc="left")
                axes.set_xticks([])
                axes.set_yticks([])
                if column == 0:
                    axes.legend(loc="best", frameon=False, markerscale=3, fontsize=8)
        figure.savefig(path, dpi=DPI // 2)


if __name__ == "__main__":
    main()
