"""Detectors and feature models by name.

Adapters are imported when they are asked for: each brings its own heavy library.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from weaksup.detectors.base import Detector, FeatureModel
from weaksup.detectors.config_and_file import split_weights
from weaksup.detectors.labels import read_labels
from weaksup.errors import UsageError
from weaksup.registry import Registry

AUTO = "auto"


class CommonOptions(TypedDict):
    """The arguments that every adapter has, under one name."""

    with_features: bool
    score_threshold: float
    min_regions: int
    max_regions: int
    device: str


@dataclass(frozen=True)
class DetectorOptions:
    """What every adapter is built from.

    Attributes:
        weights: a name that the adapter knows, a file or a folder; None for its default.
        labels: object names, in the order of the network's classes, where the user gives them.
        attribute_labels: attribute names, in the order of an attribute head's classes.
        concepts: the user's own concepts, which networks with an open vocabulary look for.
        with_features: whether region features are wanted of the detector itself.
        score_threshold: regions score at least this, unless there are too few of them.
        min_regions: fill up to so many regions, the whole image counted in.
        max_regions: keep the best of more, the whole image counted in.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    """

    weights: str | None = None
    labels: Sequence[str] | None = None
    attribute_labels: Sequence[str] | None = None
    concepts: Sequence[str] | None = None
    with_features: bool = True
    score_threshold: float = 0.2
    min_regions: int = 10
    max_regions: int = 36
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise UsageError(f"--score-threshold {self.score_threshold} is not between 0 and 1")
        if not 1 <= self.min_regions <= self.max_regions:
            raise UsageError(
                f"--min-regions {self.min_regions} and --max-regions {self.max_regions} do not "
                "go together",
                "the least is 1 (the whole image), and --max-regions is not below --min-regions",
            )

    @property
    def common(self) -> CommonOptions:
        """What every adapter is given in the same way."""
        return {
            "with_features": self.with_features,
            "score_threshold": self.score_threshold,
            "min_regions": self.min_regions,
            "max_regions": self.max_regions,
            "device": self.device,
        }


def build_detector(
    name: str,
    options: DetectorOptions,
    *,
    labels_file: Path | None = None,
    attribute_labels_file: Path | None = None,
) -> Detector:
    """Build a detector.

    Args:
        name: ``auto`` or one of ``detector_names()``.
        options: what to build it from.
        labels_file: object names, one a line; in place of ``options.labels``.
        attribute_labels_file: attribute names, the same way.

    Raises:
        UsageError: for an unknown name or options that the adapter cannot follow.
        DataError: for damaged weights or labels.
        MissingDependencyError: for weights or packages that are not here.
    """
    if labels_file is not None:
        options = replace(options, labels=read_labels(labels_file))
    if attribute_labels_file is not None:
        options = replace(options, attribute_labels=read_labels(attribute_labels_file))
    kind = resolve_auto() if name == AUTO else name
    build = _DETECTORS.get(kind)
    if options.attribute_labels is not None and kind != "detectron2":
        raise UsageError(
            f"attribute names were given for the detector {kind}, which finds no attributes",
            "leave --attribute-labels out, or name another with --detector detectron2",
        )
    return build(options)


def build_feature_model(
    name: str,
    *,
    size: int,
    device: str = "auto",
    precision: str = "auto",
    labels_file: Path | None = None,
) -> FeatureModel:
    """Build a feature model from an ONNX file or a torchvision backbone's name.

    Args:
        name: a file or a name.
        size: height and width of its input in pixels, where it leaves them open.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; an ONNX file has its own.
        labels_file: names of the classes of an ONNX file, one class a line, to name regions with.

    Raises:
        UsageError: if ``name`` is neither a file nor a known name, or the labels do not fit.
        DataError: for damaged weights.
        MissingDependencyError: for weights that are not here and cannot be fetched.
    """
    if Path(name).suffix.lower() == ".onnx" or Path(name).is_file():
        from weaksup.detectors.feature_model import OnnxFeatureModel

        return OnnxFeatureModel(Path(name), size=size, device=device, labels=labels_file)
    if labels_file is not None:
        raise UsageError(
            f"--feature-labels is for feature models in ONNX files, and '{name}' is none",
            "leave --feature-labels out, or name an ONNX file with --feature-model",
        )
    from weaksup.detectors.torchvision_features import TorchvisionFeatureModel

    return TorchvisionFeatureModel(name, size=size, device=device, precision=precision)


@dataclass(frozen=True)
class ModelChoice:
    """Which detector and which feature model, by name: every process can build them from it.

    Attributes:
        detector: ``auto`` or one of ``detector_names()``.
        options: what to build it from; ``with_features`` goes by the feature model.
        labels: object names, one a line.
        attribute_labels: attribute names, one a line.
        feature_model: a file or a name; None for the detector's own features.
        feature_size: height and width of its input in pixels, where it leaves them open.
        feature_labels: names of its classes.
    """

    detector: str
    options: DetectorOptions
    labels: Path | None = None
    attribute_labels: Path | None = None
    feature_model: str | None = None
    feature_size: int = 448
    feature_labels: Path | None = None

    def build(self) -> tuple[Detector, FeatureModel | None]:
        """The models. Errors are those of ``build_detector`` and ``build_feature_model``."""
        options = replace(self.options, with_features=self.feature_model is None)
        detector = build_detector(
            self.detector,
            options,
            labels_file=self.labels,
            attribute_labels_file=self.attribute_labels,
        )
        if self.feature_model is None:
            return detector, None
        return detector, build_feature_model(
            self.feature_model,
            size=self.feature_size,
            device=options.device,
            precision=options.precision,
            labels_file=self.feature_labels,
        )

    def on(self, device: str) -> ModelChoice:
        """The same on another device."""
        return replace(self, options=replace(self.options, device=device))

    def absolute(self) -> ModelChoice:
        """The same for processes elsewhere: where another folder is the current one, or other
        packages are installed, so that ``auto`` would be another detector."""

        weights, feature_model = self.options.weights, self.feature_model
        if weights is not None:
            weights = ",".join(
                str(Path(part).absolute()) if Path(part).exists() else part
                for part in _parts(weights)
            )
        if feature_model is not None and Path(feature_model).is_file():
            feature_model = str(Path(feature_model).absolute())
        return replace(
            self,
            detector=resolve_auto() if self.detector == AUTO else self.detector,
            options=replace(self.options, weights=weights),
            labels=self.labels and self.labels.absolute(),
            attribute_labels=self.attribute_labels and self.attribute_labels.absolute(),
            feature_model=feature_model,
            feature_labels=self.feature_labels and self.feature_labels.absolute(),
        )

    @property
    def files(self) -> list[Path]:
        """What of it is a file or, of a transformers model, a folder of files, and no name."""
        weights = self.options.weights
        given = (
            *(_parts(weights) if weights is not None else ()),
            self.labels,
            self.attribute_labels,
            self.feature_model,
            self.feature_labels,
        )
        paths = [Path(item) for item in given if item is not None]
        return [path for path in paths if path.is_file() or path.is_dir()]


def _parts(weights: str) -> list[str]:
    """What ``--weights`` names: a file, a folder or a name; two for detectron2."""
    return [part for part in split_weights(weights) if part is not None]


def detector_names() -> list[str]:
    """What can be asked for by name, beside ``auto``."""
    return _DETECTORS.names()


def resolve_auto() -> str:
    """What ``auto`` means here: detectron2 if it is there, else torchvision."""
    return "detectron2" if importlib.util.find_spec("detectron2") else "torchvision"


_DETECTORS: Registry[Callable[[DetectorOptions], Detector]] = Registry("detector")


@_DETECTORS.register("onnx")
def _onnx(options: DetectorOptions) -> Detector:
    if options.weights is None:
        raise UsageError("the onnx detector needs a model", "name an ONNX file with --weights")
    if options.precision not in (AUTO, "fp32"):
        raise UsageError(
            f"an ONNX file has its own precision, which --precision {options.precision} does not "
            "change",
            "leave --precision out, or convert the model",
        )
    from weaksup.detectors.onnx import OnnxDetector

    return OnnxDetector(Path(options.weights), labels=options.labels, **options.common)


@_DETECTORS.register("torchvision")
def _torchvision(options: DetectorOptions) -> Detector:
    from weaksup.detectors.torchvision_weights import load_torchvision_detector

    return load_torchvision_detector(
        options.weights, labels=options.labels, precision=options.precision, **options.common
    )


@_DETECTORS.register("detectron2")
def _detectron2(options: DetectorOptions) -> Detector:
    from weaksup.detectors.detectron2 import load_detectron2_detector

    return load_detectron2_detector(
        options.weights,
        labels=options.labels,
        attribute_labels=options.attribute_labels,
        precision=options.precision,
        **options.common,
    )


@_DETECTORS.register("transformers")
def _transformers(options: DetectorOptions) -> Detector:
    from weaksup.detectors.transformers_weights import load_transformers_detector

    return load_transformers_detector(
        options.weights,
        labels=options.labels,
        concepts=options.concepts,
        precision=options.precision,
        **options.common,
    )


@_DETECTORS.register("demo")
def _demo(options: DetectorOptions) -> Detector:
    if options.weights is not None or options.labels is not None:
        raise UsageError(
            "the demo detector has its own weights and labels", "leave --weights and --labels out"
        )
    from weaksup.detectors.demo import load_demo_detector

    return load_demo_detector(precision=options.precision, **options.common)
