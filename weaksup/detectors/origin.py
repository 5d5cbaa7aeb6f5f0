"""What a store's detector was built from, as far as the adapters' kinds differ in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Those options of a detector that are not the same for all adapters.

    Each adapter has a ``find_origin`` that tells them from a store's provenance and the files that
    are known.

    Attributes:
        weights: as ``DetectorOptions`` takes them; None for an adapter's default.
        labels: object names that the user gave; None where the model has its own.
        attribute_labels: attribute names that the user gave.
    """

    weights: str | None = None
    labels: Sequence[str] | None = None
    attribute_labels: Sequence[str] | None = None

    @classmethod
    def of(cls, weights: str | None, settings: Mapping[str, Any]) -> Origin:
        """These weights, with the names that the settings of a provenance record."""
        return cls(weights, settings.get("labels"), settings.get("attribute_labels"))
