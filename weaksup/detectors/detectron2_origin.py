"""What a store's detector of detectron2 was built from: a configuration and its weights."""

from __future__ import annotations

from pathlib import Path

from weaksup.detectors.config_and_file import SUFFIXES
from weaksup.detectors.detectron2 import (
    config_sha256,
    import_detectron2,
    published_weights,
    read_config,
    weights_named_in,
    zoo_names,
)
from weaksup.detectors.known_files import KnownFiles
from weaksup.detectors.origin import Origin
from weaksup.errors import DataError, MissingDependencyError, UsageError
from weaksup.files import sha256
from weaksup.types import Provenance


def find_origin(provenance: Provenance, known: KnownFiles) -> Origin:
    """The model zoo's configuration, or a known one of the same content; with their weights.

    Raises:
        MissingDependencyError: without detectron2, or if one of the two is not here.
    """
    import_detectron2()
    name = provenance.detector.partition(":")[2]
    weights = known.find(provenance.weights_sha256)
    if f"{name}.yaml" in zoo_names():
        config = f"{name}.yaml"
        if weights is None:
            _require_published(name, provenance, known)
    else:
        path = _config(name, provenance, known)
        config = str(path)
        if weights is None and not _names_the_weights(path, provenance):
            raise known.missing_weights(provenance)
    return Origin.of(config if weights is None else f"{config},{weights}", provenance.settings)


def _require_published(name: str, provenance: Provenance, known: KnownFiles) -> None:
    """Return if the weights are those that the zoo publishes for its configuration ``name``."""
    # Whoever gave labels gave weights, too: a published model has its own.
    if "labels" in provenance.settings:
        raise known.missing_weights(provenance)
    try:
        path = published_weights(name)
    except UsageError:  # it publishes none
        raise known.missing_weights(provenance) from None
    except MissingDependencyError as error:
        raise MissingDependencyError(
            error.message, f"{error.hint}\nor, if it was a file of your own, name it with --models"
        ) from error
    if sha256(path) != provenance.weights_sha256:
        raise known.missing_weights(provenance)


def _config(name: str, provenance: Provenance, known: KnownFiles) -> Path:
    """The known YAML file that says the same as the one that the detector was built from."""
    files = [path for path in known.paths if path.suffix in SUFFIXES]
    wanted, problems = provenance.settings["config_sha256"], []
    # Several can describe one model for different data, whose classes have different names.
    for path in sorted(files, key=lambda path: path.stem != name):
        try:
            if config_sha256(read_config(path, trusted=False)) == wanted:
                return path
        except DataError as error:
            if path.stem == name:  # no other is worth a word
                problems.append(error.message)
    missing = known.missing(f"the configuration {name}.yaml of the detector {provenance.detector}")
    if problems:
        raise MissingDependencyError(missing.message, "\n".join([missing.hint, *problems]))
    raise missing


def _names_the_weights(config: Path, provenance: Provenance) -> bool:
    """Whether a configuration's own ``MODEL.WEIGHTS`` are those of the store."""
    try:
        path = weights_named_in(read_config(config, trusted=False), config)
    except (UsageError, DataError):  # it names none, or they are not there
        return False
    return sha256(path) == provenance.weights_sha256
