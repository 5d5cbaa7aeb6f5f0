"""Models under the names that a store has for them: their files may be called otherwise now."""

from __future__ import annotations

from dataclasses import replace

from weaksup.detectors.base import Detector, FeatureModel


class RenamedDetector:
    """A detector under another name.

    Args:
        detector: does all the work.
        name: for the provenance, such as ``onnx:yolox_nano``.
    """

    def __init__(self, detector: Detector, *, name: str) -> None:
        self.objects = detector.objects
        self.attributes = detector.attributes
        self.feature_size = detector.feature_size
        self.provenance = replace(detector.provenance, detector=name)
        self.concurrent = getattr(detector, "concurrent", False)
        self.detect = detector.detect


class RenamedFeatureModel:
    """A feature model under another name.

    Args:
        model: does all the work.
        name: for the provenance, such as ``onnx:mobilenet_v2``.
    """

    def __init__(self, model: FeatureModel, *, name: str) -> None:
        self.feature_size = model.feature_size
        self.classes = model.classes
        self.class_slots = model.class_slots
        self.provenance = replace(model.provenance, detector=name)
        self.concurrent = getattr(model, "concurrent", False)
        self.pool = model.pool
