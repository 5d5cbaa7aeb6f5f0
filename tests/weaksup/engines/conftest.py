"""What one process alone makes of the photos, to compare with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from weaksup.detectors.build import DetectorOptions, ModelChoice
from weaksup.engines.deal import Dealer
from weaksup.engines.run import run_extraction
from weaksup.extract import plan_extraction
from weaksup.images import list_images
from weaksup.store import open_store


@pytest.fixture
def models(tiny_detector):
    return ModelChoice("onnx", DetectorOptions(weights=str(tiny_detector)))


@pytest.fixture
def contents():
    """All that a store says of all images, in order."""

    def read(path: Path):
        store = open_store(path)
        rows = [store.regions(at) for at in range(len(store))]
        images = [
            (
                image,
                *(part.tobytes() for part in (r.boxes, r.features, r.scores)),
                *(part.tobytes() for part in (r.objects, r.attributes)),
            )
            for image, r in zip(store.ids, rows, strict=True)
        ]
        words = (store.objects, store.attributes, store.object_words)
        return (images, store.status.tolist(), store.problems, words, store.provenance)

    return read


@pytest.fixture
def extract(photos, tmp_path):
    """Extract from the photos, one image a group."""

    def call(models, name, **options):
        return run_extraction(
            list_images([photos]),
            models,
            **{
                "out": tmp_path / name,
                "concepts": tmp_path / f"{name}.json",
                "batch_size": 1,
                **options,
            },
        )

    return call


@pytest.fixture
def alone(models, extract, contents):
    """The contents of a store in one file that one process has made."""
    return contents(extract(models, "alone.h5").store)


@pytest.fixture
def deal(photos, tmp_path):
    """Deal the photos, one a group, to a crew."""

    def call(crew, name, *, shards=3, notify=lambda text: None, progress=lambda *at: None):
        plan = partial(
            plan_extraction,
            list_images([photos]),
            out=tmp_path / name,
            concepts=tmp_path / f"{name}.json",
            concept_list=None,
            shards=shards,
            batch_size=1,
            overwrite=False,
        )
        with crew:
            dealer = Dealer(
                crew,
                plan,
                shards=shards,
                opened=lambda _: None,
                progress=progress,
                notify=notify,
            )
            return dealer.run()

    return call
