"""The detector and the captions format of docs/extending.md do what the page says."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from weaksup.extract import extract
from weaksup.images import list_images
from weaksup.store import open_store

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = sorted(DOCS.glob("examples/*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_the_page_shows_the_file_that_is_tested(example):
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    assert f"```python\n{text}```" in (DOCS / "extending.md").read_text(encoding="utf-8")


def test_a_store_is_made_with_the_detector(photos, tmp_path):
    detector = runpy.run_path(str(DOCS / "examples" / "grid_detector.py"))["GridDetector"]()
    report = extract(
        list_images([photos]),
        detector=detector,
        out=tmp_path / "regions.h5",
        concepts=tmp_path / "concepts.json",
    )
    store = open_store(report.store)
    assert store.feature_size == 24
    assert store.provenance.settings["bins"] == 8
    regions = store.regions(store.index("0.png"))
    assert np.allclose(regions.boxes[0], (0, 0, 1, 1))
    assert np.allclose(np.asarray(regions.features, np.float32).sum(1), 3, atol=0.01)
    assert [name for kind, name, _ in report.counts if kind == "object"] == ["quarter"]


def test_captions_are_read_in_the_format(tmp_path):
    (tmp_path / "mine.txt").write_text("a.jpg -> One.\nb.jpg -> Two.\na.jpg -> Three.\n")
    code = (
        "import json, sys, arrow_captions; from weaksup.corpora import read_corpus; "
        "print(json.dumps({i.id: i.captions for i in read_corpus(sys.argv[1]).images}))"
    )
    # In a process of its own: the format would stay in the registry of the other tests.
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "mine.txt"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(DOCS / "examples"), str(DOCS.parent)]),
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"a.jpg": ["One.", "Three."], "b.jpg": ["Two."]}
