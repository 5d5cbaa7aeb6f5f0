"""The detector that a region store was made with, again, from what the store says of it.

Weights are recognised by their content, wherever they lie and whatever they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weaksup.detectors.base import Detector, FeatureModel
from weaksup.detectors.build import DetectorOptions, build_detector, build_feature_model
from weaksup.errors import DataError, MissingDependencyError
from weaksup.files import sha256
from weaksup.types import Provenance

# What --precision calls the types that stores name.
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
WITHOUT_FILE = ("demo", "torchvision", "detectron2")


@dataclass(frozen=True)
class Rebuilt:
    """A detector and, if the store has features of one, its feature model."""

    detector: Detector
    feature_model: FeatureModel | None


def rebuild(
    provenance: Provenance, *, files: Iterable[Path], labels: tuple[str, ...] = ()
) -> Rebuilt:
    """Build what made a store.

    Args:
        provenance: of the store.
        files: where weights and labels may be: files, and folders, whose own files are taken.
        labels: the detector's object names, for weights that have none in them.

    Raises:
        MissingDependencyError: if a weights file or a package is not here.
        DataError: if what could be built is not what made the store.
    """
    known = _Files(files)
    settings = provenance.settings
    kind, _, name = provenance.detector.partition(":")
    weights = known.find(provenance.weights_sha256)
    if weights is None and kind not in WITHOUT_FILE:
        raise _missing(f"the weights of the detector {provenance.detector}", known)
    own = _labels(settings) or labels
    options = DetectorOptions(
        weights=str(weights) if weights is not None else (None if kind == "demo" else name),
        labels=own if weights is not None and own else None,
        with_features=settings.get("features") != "none",
        score_threshold=settings["score_threshold"],
        min_regions=settings["min_regions"],
        max_regions=settings["max_regions"],
        device="cpu",
        precision=PRECISIONS.get(settings.get("precision", ""), "auto"),
    )
    detector = build_detector(kind, options)
    feature_model = None
    wanted = settings.get("feature_model")
    if wanted is not None:
        feature_model = _feature_model(wanted, known)
    _compare(provenance, detector, feature_model)
    return Rebuilt(detector, feature_model)


def _labels(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(settings.get("description", {}).get("labels", ()))


def _feature_model(wanted: Mapping[str, Any], known: _Files) -> FeatureModel:
    kind, _, name = str(wanted["name"]).partition(":")
    weights = known.find(wanted["weights_sha256"])
    if weights is None and kind == "onnx":
        raise _missing(f"the weights of the feature model {wanted['name']}", known)
    labels = None
    if "classes" in wanted:
        labels = known.find(wanted["classes"]["labels_sha256"])
        if labels is None:
            raise _missing(f"the class names of the feature model {wanted['name']}", known)
    size = wanted["input"]["size"][0] if "input" in wanted else wanted["size"]
    return build_feature_model(
        str(weights) if kind == "onnx" else name,
        size=int(size),
        device="cpu",
        precision=PRECISIONS.get(wanted.get("precision", ""), "auto"),
        labels_file=labels,
    )


class _Files:
    """Files by their content; each is read once, and none before it is asked for."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths: list[Path] = []
        for path in paths:
            if path.is_dir():
                self.paths += sorted(file for file in path.iterdir() if file.is_file())
            elif path.is_file():
                self.paths.append(path)
        self._found: dict[str, Path] = {}
        self._left = list(dict.fromkeys(self.paths))

    def find(self, digest: str) -> Path | None:
        """The file of this SHA-256; None if there is none."""
        while digest not in self._found and self._left:
            path = self._left.pop(0)
            self._found[sha256(path)] = path
        return self._found.get(digest)


def _missing(what: str, known: _Files) -> MissingDependencyError:
    looked = ", ".join(map(str, known.paths)) or "nowhere: no file is known"
    return MissingDependencyError(
        f"{what} are needed to read a new picture, and were not found (looked at {looked})",
        "name the file, or the folder that it is in, with --models; it is recognised by its "
        "content",
    )


def _compare(
    provenance: Provenance, detector: Detector, feature_model: FeatureModel | None
) -> None:
    """Refuse what would give other regions or features than those of the store."""
    found, wanted = detector.provenance, dict(provenance.settings)
    different = []
    if found.weights_sha256 != provenance.weights_sha256:
        different.append("weights")
    feature = wanted.pop("feature_model", None)
    for name, value in found.settings.items():
        if _plain(value) != _plain(wanted.get(name)):
            different.append(name)
    if feature_model is not None:
        now = {
            **feature_model.provenance.settings,
            "weights_sha256": feature_model.provenance.weights_sha256,
        }
        different += [f"feature_model.{n}" for n in now if _plain(now[n]) != _plain(feature.get(n))]
    if different:
        raise DataError(
            f"the detector {provenance.detector} as it is here differs in {', '.join(different)} "
            "from the one that made the regions",
            "a picture that is not in the index cannot be searched with it",
        )


def _plain(value: Any) -> Any:
    """As it is after JSON: lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
