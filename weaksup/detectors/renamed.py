"""Models under the names that a store has for them: their files may be called otherwise now."""

from __future__ import annotations

from dataclasses import replace

from weaksup.detectors.base import Detector, FeatureModel


class _Renamed:
    """What both kinds of models have, under another name for the provenance."""

    def __init__(self, model: Detector | FeatureModel, *, name: str) -> None:
        self.feature_size = model.feature_size
        self.provenance = replace(model.provenance, detector=name)
        self.concurrent = getattr(model, "concurrent", False)


class RenamedDetector(_Renamed):
    """A detector under another name.

    Args:
        detector: does all the work.
        name: for the provenance, such as ``onnx:yolox_nano``.
    """

    def __init__(self, detector: Detector, *, name: str) -> None:
        super().__init__(detector, name=name)
        self.objects, self.attributes = detector.objects, detector.attributes
        self.detect = detector.detect


class RenamedFeatureModel(_Renamed):
    """A feature model under another name.

    Args:
        model: does all the work.
        name: for the provenance, such as ``onnx:mobilenet_v2``.
    """

    def __init__(self, model: FeatureModel, *, name: str) -> None:
        super().__init__(model, name=name)
        self.classes, self.class_slots = model.classes, model.class_slots
        self.pool = model.pool
