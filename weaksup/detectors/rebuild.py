"""The detector that a region store was made with, again, from what the store says of it.

Weights are recognised by their content, wherever they lie and whatever they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weaksup.detectors.base import Detector, FeatureModel
from weaksup.detectors.build import DetectorOptions, build_detector, build_feature_model
from weaksup.detectors.known_files import KnownFiles
from weaksup.detectors.origin import Origin
from weaksup.detectors.renamed import RenamedDetector, RenamedFeatureModel
from weaksup.errors import DataError, UsageError
from weaksup.types import Provenance

# What --precision calls the types that stores name.
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Rebuilt:
    """A detector and, if the store has features of one, its feature model."""

    detector: Detector
    feature_model: FeatureModel | None


def rebuild(provenance: Provenance, *, files: Iterable[Path]) -> Rebuilt:
    """Build what made a store.

    Args:
        provenance: of the store.
        files: where weights, configurations and labels may be: files, and folders, whose own files
            are taken, and those of a model that is a folder inside.

    Raises:
        MissingDependencyError: if a weights file or a package is not here.
        DataError: if what could be built is not what made the store, or nothing can.
    """
    known = KnownFiles(files)
    detector = _detector(provenance, known)
    wanted = provenance.settings.get("feature_model")
    feature_model = _feature_model(wanted, known) if wanted is not None else None
    _compare(provenance, detector, feature_model)
    return Rebuilt(
        RenamedDetector(detector, name=provenance.detector),
        RenamedFeatureModel(feature_model, name=wanted["name"])
        if wanted is not None and feature_model is not None
        else None,
    )


def _detector(provenance: Provenance, known: KnownFiles) -> Detector:
    settings = provenance.settings
    kind = provenance.detector.partition(":")[0]
    if kind not in _ORIGINS:
        raise DataError(
            f"the regions were made by '{provenance.detector}', which weaksup cannot build",
            _NOT_IN_THE_INDEX,
        )
    origin = _ORIGINS[kind](provenance, known)
    options = DetectorOptions(
        weights=origin.weights,
        labels=origin.labels,
        attribute_labels=origin.attribute_labels,
        with_features=settings.get("features") != "none",
        score_threshold=settings["score_threshold"],
        min_regions=settings["min_regions"],
        max_regions=settings["max_regions"],
        device="cpu",
        precision=PRECISIONS.get(settings.get("precision", ""), "auto"),
    )
    try:
        return build_detector(kind, options)
    except UsageError as error:
        # Its hint would be of options that only `extract` has.
        raise DataError(
            f"the detector {provenance.detector} cannot be built from what its store says: "
            f"{error.message}",
            "if another version of weaksup made the store, run `weaksup extract --overwrite`, and "
            "train again",
        ) from error


def _onnx(provenance: Provenance, known: KnownFiles) -> Origin:
    from weaksup.detectors.onnx import find_origin

    return find_origin(provenance, known)


def _torchvision(provenance: Provenance, known: KnownFiles) -> Origin:
    from weaksup.detectors.torchvision_weights import find_origin

    return find_origin(provenance, known)


def _detectron2(provenance: Provenance, known: KnownFiles) -> Origin:
    from weaksup.detectors.detectron2_origin import find_origin

    return find_origin(provenance, known)


def _transformers(provenance: Provenance, known: KnownFiles) -> Origin:
    from weaksup.detectors.transformers_origin import find_origin

    return find_origin(provenance, known)


def _demo(provenance: Provenance, known: KnownFiles) -> Origin:
    return Origin()  # its weights and names are in the package


# Adapters are imported when they are asked for, as in build.py.
_ORIGINS: Mapping[str, Callable[[Provenance, KnownFiles], Origin]] = {
    "onnx": _onnx,
    "torchvision": _torchvision,
    "detectron2": _detectron2,
    "transformers": _transformers,
    "demo": _demo,
}
_NOT_IN_THE_INDEX = "a picture that is not in the index cannot be searched with it"


def _feature_model(wanted: Mapping[str, Any], known: KnownFiles) -> FeatureModel:
    kind, _, name = str(wanted["name"]).partition(":")
    weights = known.find(wanted["weights_sha256"])
    if weights is None and kind == "onnx":
        raise known.missing(
            f"the weights of the feature model {wanted['name']}", digest=wanted["weights_sha256"]
        )
    labels = None
    if "classes" in wanted:
        digest = wanted["classes"]["labels_sha256"]
        labels = known.find(digest)
        if labels is None:
            raise known.missing(
                f"the class names of the feature model {wanted['name']}", digest=digest
            )
    size = wanted["input"]["size"][0] if "input" in wanted else wanted["size"]
    return build_feature_model(
        str(weights) if kind == "onnx" else name,
        size=int(size),
        device="cpu",
        precision=PRECISIONS.get(wanted.get("precision", ""), "auto"),
        labels_file=labels,
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
            _NOT_IN_THE_INDEX,
        )


def _plain(value: Any) -> Any:
    """As it is after JSON: lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
