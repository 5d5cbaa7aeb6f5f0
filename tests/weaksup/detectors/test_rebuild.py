from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from weaksup.analyser import Traits
from weaksup.detectors.build import DetectorOptions, build_detector, build_feature_model
from weaksup.detectors.rebuild import rebuild
from weaksup.errors import DataError, MissingDependencyError
from weaksup.types import Image

OPTIONS = DetectorOptions(
    with_features=False, score_threshold=0.3, min_regions=2, max_regions=5, device="cpu"
)


@pytest.fixture
def made(tiny_detector, tiny_classifier):
    """A detector and a feature model, and the provenance that a store of theirs would have."""
    network, labels = tiny_classifier
    detector = build_detector("onnx", replace(OPTIONS, weights=str(tiny_detector)))
    feature_model = build_feature_model(str(network), size=64, device="cpu", labels_file=labels)
    provenance = Traits.of(detector, feature_model, batch_size=16).provenance
    # As a store keeps it.
    settings = json.loads(json.dumps(provenance.settings))
    return detector, feature_model, replace(provenance, settings=settings)


@pytest.fixture
def moved(tmp_path, tiny_detector, tiny_classifier):
    """The same files elsewhere, among others; weights keep their names, which provenance has."""
    folder = tmp_path / "moved"
    folder.mkdir()
    for file in (tiny_detector, *tiny_classifier):
        for beside in file.parent.glob(f"{file.stem}.*"):
            (folder / beside.name).write_bytes(beside.read_bytes())
    (folder / "other.txt").write_text("something else")
    return folder


def test_it_sees_what_the_first_one_saw(made, moved):
    detector, feature_model, provenance = made
    again = rebuild(provenance, files=[moved])
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image("x.png", pixels, (60, 80))
    (one,), (two,) = detector.detect([picture]), again.detector.detect([picture])
    np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(one.objects, two.objects)
    first, second = (
        m.pool([picture], [one.boxes])[0] for m in (feature_model, again.feature_model)
    )
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.classes, second.classes)


def test_what_is_missing_is_named(made, moved, tiny_detector, tiny_classifier):
    provenance = made[2]
    for file, says in (
        (tiny_classifier[1], "the class names of the feature model"),
        (tiny_classifier[0], "the weights of the feature model"),
        (tiny_detector, "the weights of the detector"),
    ):
        (moved / file.name).unlink()
        with pytest.raises(MissingDependencyError, match=says) as error:
            rebuild(provenance, files=[moved, moved / "nowhere"])
        assert "--models" in error.value.hint
        assert "other.txt" in error.value.message


def test_what_would_see_otherwise_is_refused(made, moved):
    provenance = made[2]
    model = {**provenance.settings["feature_model"], "bins": 99}
    for name, value, says in (
        ("candidate_score", 0.5, "candidate_score"),
        ("feature_model", model, "feature_model.bins"),
    ):
        changed = replace(provenance, settings={**provenance.settings, name: value})
        with pytest.raises(DataError, match=f"differs in {says} from the one"):
            rebuild(changed, files=[moved])
