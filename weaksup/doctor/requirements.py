"""What weaksup says that it needs: ``pyproject.toml``, or what was installed from it."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weaksup.errors import MissingDependencyError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PYTHON = (3, 10)


@dataclass(frozen=True)
class Needs:
    """Distributions.

    Attributes:
        always: what there is no work without.
        extras: name of the extra -> what it installs.
    """

    always: tuple[Requirement, ...]
    extras: dict[str, tuple[Requirement, ...]]


def read_needs(project: Path | None = None) -> Needs:
    """Read what this machine needs.

    Args:
        project: a ``pyproject.toml``; None for that of the checkout that is running, or what pip
            has noted if it is not run from one.

    Raises:
        MissingDependencyError: if nothing can be read.
    """
    try:
        from packaging.requirements import Requirement
    except Exception as error:  # whatever a broken package raises
        raise MissingDependencyError(
            f"packaging cannot be imported: {error}",
            "python -m pip install --force-reinstall packaging",
        ) from error
    path = project or Path(__file__).parents[2] / "pyproject.toml"
    always, extras = _of_project(path) if path.is_file() else _of_metadata()
    parsed = {extra: tuple(map(Requirement, lines)) for extra, lines in extras.items()}
    return Needs(tuple(_applying(map(Requirement, always))), parsed)


def _of_project(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return content["dependencies"], content["optional-dependencies"]


def _of_metadata() -> tuple[list[str], dict[str, list[str]]]:
    from packaging.requirements import Requirement

    try:
        distribution = importlib.metadata.distribution("weaksup")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependencyError(
            "weaksup is not installed, so that what it needs is not known",
            "python -m pip install --editable . (in its folder)",
        ) from error
    always: list[str] = []
    extras: dict[str, list[str]] = {}
    names = distribution.metadata.get_all("Provides-Extra") or []
    for line in distribution.requires or []:
        parsed = Requirement(line)
        within = [
            name
            for name in names
            if parsed.marker
            and not parsed.marker.evaluate({"extra": ""})
            and parsed.marker.evaluate({"extra": name})
        ]
        if within:
            extras.setdefault(within[0], []).append(line)
        else:
            always.append(line)
    return always, extras


def _applying(requirements: Iterator[Requirement]) -> Iterator[Requirement]:
    return (r for r in requirements if r.marker is None or r.marker.evaluate())
