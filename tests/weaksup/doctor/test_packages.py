"""From what a package says of itself to what mends it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from weaksup.doctor.packages import PURPOSES, check_packages
from weaksup.doctor.requirements import Needs, read_needs
from weaksup.errors import MissingDependencyError


def needs(*lines: str, **extras: str) -> Needs:
    return Needs(
        tuple(map(Requirement, lines)),
        {name: (Requirement(line),) for name, line in extras.items()},
    )


def test_versions_and_the_commands_that_mend_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_thing.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    found = {
        finding.name: finding
        for finding in check_packages(
            needs("numpy>=1.26", "rich>=999", "Broken-Thing<3", app="nowhere-to-be-found[x]>=2")
        )
    }
    assert found["python"].fine
    numpy = found["numpy"]
    assert (numpy.state, numpy.found, numpy.mend) == ("ok", version("numpy"), "")
    rich = found["rich"]
    assert (rich.state, rich.needed) == ("outdated", True)
    assert rich.found == f"{version('rich')}; >=999 is needed"
    assert rich.mend == "python -m pip install 'rich>=999'"
    missing = found["nowhere-to-be-found"]
    assert (missing.state, missing.needed) == ("missing", False)
    assert missing.mend == "python -m pip install 'nowhere-to-be-found>=2'"
    # Neither torch nor spaCy was asked for.
    assert found["CUDA"].found == "not known without torch"


def test_a_package_that_fails_is_installed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_thing.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    broken = next(f for f in check_packages(needs("broken-thing<3")) if f.name == "broken-thing")
    assert (broken.state, broken.found) == ("broken", "ZeroDivisionError: division by zero")
    assert broken.mend == "python -m pip install --force-reinstall 'broken-thing<3'"


def test_the_needs_are_those_of_the_project() -> None:
    read = read_needs()
    names = {requirement.name for requirement in read.always}
    assert {"torch", "torchvision", "spacy", "spacy-lookups-data", "onnxruntime"} <= names
    extras = [r.name for extra in ("transformers", "ray", "search") for r in read.extras[extra]]
    assert extras == ["transformers", "ray", "faiss-cpu"]
    named = {r.name for extra, rows in read.extras.items() if extra != "dev" for r in rows}
    assert (names | named) - {"setuptools"} <= PURPOSES.keys()


def test_without_a_checkout_pip_is_asked(tmp_path: Path) -> None:
    noted = read_needs(tmp_path / "pyproject.toml")
    assert "torch" in {requirement.name for requirement in noted.always}
    assert [requirement.name for requirement in noted.extras["search"]] == ["faiss-cpu"]
    assert "faiss-cpu" not in {requirement.name for requirement in noted.always}


def test_a_project_that_needs_nothing_here(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        "[project]\ndependencies = ['tomli; python_version < \"3\"', 'rich']\n"
        "[project.optional-dependencies]\napp = ['gradio']\n"
    )
    read = read_needs(project)
    assert [requirement.name for requirement in read.always] == ["rich"]


def test_packaging_itself_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    with pytest.raises(MissingDependencyError, match="packaging cannot be imported"):
        read_needs()


def test_torch_and_torchvision_come_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('of another build')")
    monkeypatch.syspath_prepend(tmp_path)
    asked = needs("torch>=2.4", "rich>=13", "torchvision>=0.19")
    found = {finding.name: finding for finding in check_packages(asked)}
    command = "python -m pip install --force-reinstall"
    assert found["torch"].mend == f"{command} 'torch>=2.4' 'torchvision>=0.19'"
    assert found["torchvision"].mend == f"{command} 'torchvision>=0.19' 'torch>=2.4'"
    assert found["CUDA"].found == "not known without torch"
