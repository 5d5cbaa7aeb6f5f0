"""Packages and their data: what imports, in which version, and how to get the rest."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from weaksup.doctor.finding import Finding, State
from weaksup.doctor.probe import Import, probe
from weaksup.doctor.requirements import PYTHON, Needs

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PURPOSES = {
    "torch": "training, embeddings, torch detectors",
    "torchvision": "Faster R-CNN, feature networks",
    "spacy": "words of captions and labels",
    "spacy-lookups-data": "base forms of words",
    "nltk": "stems, reading WordNet",
    "h5py": "region stores",
    "click": "the command line",
    "rich": "tables and progress",
    "pydantic": "settings",
    "numpy": "arrays",
    "scipy": "eigenvectors",
    "pillow": "reading pictures",
    "onnx": "ONNX files: inner tensors",
    "onnxruntime": "ONNX detectors and feature networks",
    "accelerate": "devices and precision in training",
    "safetensors": "weights of runs",
    "tensorboard": "curves for TensorBoard",
    "tomli": "reading TOML",
    "tomli-w": "writing workspace.toml",
    "packaging": "comparing versions",
    "jinja2": "weaksup report",
    "markupsafe": "weaksup report",
    "transformers": "Hugging Face's detectors",
    "ray": "extraction on several machines",
    "faiss-cpu": "indexes of many images",
    "starlette": "weaksup serve",
    "uvicorn": "weaksup serve",
    "matplotlib": "plots of weaksup compare",
}
# Where a package is not imported by its own name.
_MODULES = {"pillow": "PIL", "faiss-cpu": "faiss"}
# Builds of the same module under another name.
_OTHER_BUILDS = {"onnxruntime": ("onnxruntime-gpu",), "faiss-cpu": ("faiss-gpu", "faiss")}
# detectron2 is on no index: it has its own finding. dev is for those who work on weaksup itself.
_OWN_EXTRAS = ("detectron2", "dev")
_TOGETHER = {"torch", "torchvision"}
_WORDNET = "weaksup.concepts.wordnet"
_DETECTRON2 = "detectron2.model_zoo"
_OPTIONAL_SETUPTOOLS = "setuptools<81"

PIP = "python -m pip install"


def check_packages(needs: Needs) -> list[Finding]:
    """Everything that Python imports, the needed first."""
    optional = [
        requirement
        for extra, requirements in needs.extras.items()
        if extra not in _OWN_EXTRAS
        for requirement in requirements
    ]
    modules = [module_of(each) for each in (*needs.always, *optional)]
    # torch is imported by many: one process reads it once. WordNet is slow enough for another.
    with ThreadPoolExecutor() as pool:
        wordnet = pool.submit(probe, [_WORDNET])
        imports = probe([*dict.fromkeys(modules), "detectron2", _DETECTRON2])
        imports.update(wordnet.result())
    return [
        _python(),
        *(
            _package(each, imports[module_of(each)], needed=True, beside=needs.always)
            for each in needs.always
        ),
        *_data(imports),
        _cuda(imports["torch"]) if "torch" in imports else _no_torch(),
        *_onnx_on_gpu(imports),
        *_detectron2(imports),
        *(_package(each, imports[module_of(each)], needed=False) for each in optional),
    ]


def module_of(requirement: Requirement) -> str:
    """The name by which a distribution's package is imported."""
    name = requirement.name.lower()
    return _MODULES.get(name, name.replace("-", "_"))


def _python() -> Finding:
    import sys

    wanted = ".".join(map(str, PYTHON))
    state: State = "ok" if sys.version_info >= PYTHON else "outdated"
    mend = "" if state == "ok" else f"make a virtual environment with Python {wanted} or newer"
    return Finding("python", True, "everything", state, platform.python_version(), mend)


def _package(
    requirement: Requirement,
    result: Import,
    *,
    needed: bool,
    beside: Sequence[Requirement] = (),
) -> Finding:
    name = requirement.name
    # A torch of one build does not fit a torchvision of another: they come together.
    together = [requirement, *(each for each in beside if {name, each.name} <= _TOGETHER)]
    command = " ".join([PIP, *dict.fromkeys(shlex.quote(_plain(each)) for each in together)])
    purpose = PURPOSES.get(name.lower(), "")
    if result.missing:
        return Finding(name, needed, purpose, "missing", "not installed", command)
    if result.error:
        again = command.replace(PIP, f"{PIP} --force-reinstall")
        return Finding(name, needed, purpose, "broken", result.error, again)
    version = _version(name) or result.version
    if version and not _fits(requirement, version):
        found = f"{version}; {requirement.specifier} is needed"
        return Finding(name, needed, purpose, "outdated", found, command)
    return Finding(name, needed, purpose, "ok", version or "version unknown")


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _version(name: str) -> str:
    for each in (name, *_OTHER_BUILDS.get(name.lower(), ())):
        try:
            found = importlib.metadata.version(each)
        except Exception:  # not there, or its metadata is damaged
            continue
        if found:
            return found
    return ""


def _fits(requirement: Requirement, version: str) -> bool:
    from packaging.version import InvalidVersion

    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:  # a build of somebody's own: it imports
        return True


def _data(imports: dict[str, Import]) -> Iterator[Finding]:
    """Words that come as data."""
    if "spacy" in imports and not imports["spacy"].error:
        model = imports["spacy"].details.get("model", "")
        yield Finding(
            "English model of spaCy",
            False,
            "part-of-speech tags of captions",
            "ok" if model else "missing",
            f"{model} {_version(model.replace('_', '-'))}".strip() or "not installed",
            "" if model else "python -m spacy download en_core_web_sm",
        )
    wordnet = imports[_WORDNET]
    version = wordnet.details.get("version", "")
    # Without NLTK its own finding says what to do.
    readable = "nltk" not in imports or not imports["nltk"].error
    debian = " (or `apt-get install wordnet-base`)" if shutil.which("apt-get") else ""
    yield Finding(
        "WordNet data",
        False,
        "synonyms and hypernyms of concepts",
        "ok" if version else ("broken" if wordnet.error else "missing"),
        version or wordnet.error or "not found",
        "" if version or not readable else f"python -m nltk.downloader wordnet{debian}",
    )


def _gpu_is_there() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()


def _cuda(torch: Import) -> Finding:
    if torch.error:
        return _no_torch()
    built, devices = torch.details["built_for"], torch.details["devices"]
    if devices:
        found = f"{built}: {', '.join(dict.fromkeys(devices))}"
        return Finding("CUDA", False, "a GPU for torch", "ok", found)
    if not _gpu_is_there():
        return Finding("CUDA", False, "a GPU for torch", "missing", "this machine has no GPU")
    if not built:
        command = f"{PIP} --force-reinstall torch torchvision"
        text = "there is a GPU, but torch is built without CUDA"
        return Finding("CUDA", False, "a GPU for torch", "broken", text, command)
    text = f"torch, built for CUDA {built}, does not reach the GPU"
    return Finding("CUDA", False, "a GPU for torch", "broken", text, "nvidia-smi")


def _no_torch() -> Finding:
    return Finding("CUDA", False, "a GPU for torch", "missing", "not known without torch")


def _onnx_on_gpu(imports: dict[str, Import]) -> Iterator[Finding]:
    """Only where there is a GPU to use."""
    runtime = imports.get("onnxruntime")
    if runtime is None or runtime.error or not _gpu_is_there():
        return
    there = "CUDAExecutionProvider" in runtime.details["providers"]
    yield Finding(
        "CUDA for ONNX",
        False,
        "a GPU for ONNX files",
        "ok" if there else "missing",
        "CUDAExecutionProvider" if there else "onnxruntime is built without it",
        "" if there else f"python -m pip uninstall -y onnxruntime\n{PIP} onnxruntime-gpu",
    )


def _detectron2(imports: dict[str, Import]) -> Iterator[Finding]:
    from weaksup.detectors.install import DETECTRON2

    purpose = "--detector detectron2"
    package, zoo = imports["detectron2"], imports[_DETECTRON2]
    if package.missing:
        yield Finding("detectron2", False, purpose, "missing", "not installed", DETECTRON2)
        return
    if package.error:
        yield Finding("detectron2", False, purpose, "broken", package.error, DETECTRON2)
        return
    yield Finding("detectron2", False, purpose, "ok", _version("detectron2") or package.version)
    name, purpose = "model zoo of detectron2", "names of its published models"
    if "pkg_resources" in zoo.error:
        # setuptools has it no more from version 81 on.
        mend = f"{PIP} {shlex.quote(_OPTIONAL_SETUPTOOLS)}"
        yield Finding(name, False, purpose, "broken", zoo.error, mend)
    elif zoo.error:
        yield Finding(name, False, purpose, "broken", zoo.error, DETECTRON2)
    else:
        found = f"setuptools {_version('setuptools')}"
        yield Finding(name, False, purpose, "ok", found)
