"""What a store's detector of Hugging Face's package was built from."""

from __future__ import annotations

from pathlib import Path

from weaksup.detectors.known_files import KnownFiles
from weaksup.detectors.origin import Origin
from weaksup.detectors.transformers_weights import (
    CONFIG,
    HUB_NAME,
    WEIGHTS,
    check_package,
    config_sha256,
    from_hub,
    together,
    weights_files,
)
from weaksup.errors import DataError
from weaksup.types import Provenance


def find_origin(provenance: Provenance, known: KnownFiles) -> Origin:
    """A known folder with the same files; else the hub's, if the model had a name there.

    Raises:
        MissingDependencyError: without the package, or if neither is here.
    """
    check_package()
    name, settings = provenance.detector.partition(":")[2], provenance.settings
    for folder in known.folders:
        if _is_that_of(folder, provenance):
            return Origin.of(str(folder), settings)
    if not HUB_NAME.fullmatch(name):
        raise known.missing(
            f"the folder of the detector {provenance.detector} with {CONFIG}, {WEIGHTS} and what "
            "else it had",
            hint="name it, or the folder that it is in, with --models; it is recognised by its "
            "files' content",
        )
    from_hub(name, option="--models")
    return Origin.of(name, settings)


def _is_that_of(folder: Path, provenance: Provenance) -> bool:
    """Whether a folder has the files of a detector; the small ones are compared first."""
    try:
        return (
            (folder / CONFIG).is_file()
            and config_sha256(folder) == provenance.settings["config_sha256"]
            and together(weights_files(folder)) == provenance.weights_sha256
        )
    except (DataError, OSError):  # not all of the weights are there, or none may be read
        return False
