"""Who may import whom (docs/architecture.md), and what starting up may load."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("weaksup", "trainer", "pipelines")

BASE = {
    f"weaksup.{name}"
    for name in (
        *("errors", "types", "files", "registry", "wording", "workspace"),
        *("processes", "signals"),
    )
}
PARTS = {
    f"weaksup.{name}"
    for name in (
        *("corpora", "detectors", "concepts", "store"),
        *("attributes", "images", "drawing", "diversity"),
    )
}
ANALYSER = "weaksup.analyser"
LOOPS = {"weaksup.extract", "weaksup.subsample"}
ENGINES = "weaksup.engines"
VIEWS = {"weaksup.doctor", "weaksup.inspect"}
TRAINER_MAY = {
    f"weaksup.{name}" for name in ("types", "errors", "registry", "wording", "store", "corpora")
}

HEAVY = {
    *("torch", "torchvision", "onnx", "onnxruntime", "spacy", "nltk", "transformers"),
    *("detectron2", "accelerate", "tensorboard", "ray", "faiss", "starlette", "uvicorn"),
}
# Never there, not even inside a function: these run where none of it is installed.
ALWAYS_LIGHT = {
    *BASE,
    *("weaksup.corpora", "weaksup.store", "weaksup.attributes", "weaksup.images"),
    *("weaksup.drawing", "weaksup.diversity", "weaksup.inspect"),
}
# Not at import time.
LIGHT_PACKAGES = {
    *("weaksup", "weaksup.detectors", "weaksup.concepts", "weaksup.cli", "trainer", "pipelines"),
}


def modules() -> dict[str, Path]:
    """Name -> file of every module of the project."""
    result = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            result[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return result


MODULES = modules()


def imports(module: str, *, at_import_time: bool = False) -> Iterator[str]:
    """The full names that a module imports, ``from a import b`` as ``a.b``."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            # Types alone make no dependency at run time; the import rule holds for them too.
            if not at_import_time:
                yield from (name for child in node.body for name in visit(child))
            yield from (name for child in node.orelse for name in visit(child))
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")))


def part_of(name: str) -> str:
    """The unit of the import rule: ``weaksup.store`` for ``weaksup.store.reader.open_store``."""
    return ".".join(name.split(".")[:2]) if name.startswith("weaksup.") else name.split(".")[0]


def allowed(part: str) -> set[str]:
    """The units that one may import, beside itself."""
    if part in BASE:
        return BASE
    if part in PARTS:
        return BASE
    if part == ANALYSER:
        return BASE | PARTS
    if part in LOOPS:
        return BASE | PARTS | {ANALYSER}
    if part == ENGINES:
        return BASE | PARTS | LOOPS | {ANALYSER}
    if part in VIEWS:
        return BASE | PARTS | LOOPS
    if part == "trainer":
        return TRAINER_MAY
    if part == "weaksup.__main__":
        return {"weaksup.cli"}
    if part in {"weaksup.cli", "pipelines"}:
        return {
            *(*BASE, *PARTS, ANALYSER, *LOOPS, ENGINES, *VIEWS),
            *("weaksup.cli", "trainer", "pipelines"),
        }
    return set()


@pytest.mark.parametrize("module", MODULES)
def test_the_import_rule(module):
    part = part_of(module)
    for name in imports(module):
        # weaksup itself holds the version alone.
        if name.split(".")[0] in PACKAGES and name not in {"weaksup", "weaksup.__version__"}:
            assert part_of(name) in {part, *allowed(part)}, f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_imports_click(module):
    if part_of(module) != "weaksup.cli":
        assert not [name for name in imports(module) if name.split(".")[0] == "click"]


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) in ALWAYS_LIGHT])
def test_data_preparation_needs_neither_torch_nor_spacy(module):
    assert not [name for name in imports(module) if name.split(".")[0] in HEAVY]


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) == "weaksup.cli"])
def test_commands_load_what_is_heavy_when_they_run(module):
    heavy = {*HEAVY, "trainer", "pipelines"}
    assert not [n for n in imports(module, at_import_time=True) if n.split(".")[0] in heavy]


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("module", [m for m in MODULES if m in ALWAYS_LIGHT | LIGHT_PACKAGES])
def test_importing_a_light_package_loads_nothing_heavy(module):
    assert not loaded_by(f"import {module}") & HEAVY


def test_the_checks_above_can_fail():
    assert {"torch", "numpy"} <= loaded_by("import torch")
    assert "trainer.evaluate.evaluate_images" in set(imports("weaksup.cli.evaluate"))
    top = set(imports("weaksup.cli.evaluate", at_import_time=True))
    assert "click" in top
    assert not [name for name in top if name.startswith("trainer")]


def test_help_takes_less_than_half_a_second():
    def spent() -> float:
        """Of a processor: others that are at work on the machine do not count."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    command = [sys.executable, "-m", "weaksup.cli", "--help"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "evaluate" in output
    assert 0 < spent() - before < 0.5
