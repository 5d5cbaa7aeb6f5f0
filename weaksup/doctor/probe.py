"""Import what may be broken, in a process of its own: a crash or an endless import ends no other.

The process writes a JSON object a module, a line each, as soon as it knows. :func:`probe` starts
it, and goes on with a new one behind a module that ended it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# What is slower than this on a cold disk is broken.
LIMIT_SECONDS = 90.0

_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from weaksup.doctor.probe import answer
answer(sys.argv[2:])
"""


@dataclass(frozen=True)
class Import:
    """What became of an import.

    Attributes:
        error: one line; empty if it went well.
        missing: whether the module is not there at all.
        version: its ``__version__``; empty if it has none.
        details: what :data:`DETAILS` found.
    """

    error: str = ""
    missing: bool = False
    version: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def probe(modules: Sequence[str], *, seconds: float = LIMIT_SECONDS) -> dict[str, Import]:
    """Import modules one after the other, in this order, where they can do no harm.

    Args:
        modules: names as in an ``import``.
        seconds: for all of them.
    """
    end = time.monotonic() + seconds
    result: dict[str, Import] = {}
    while left := modules[len(result) :]:
        lines, fate = _child(left, seconds=end - time.monotonic())
        for name, line in zip(left, lines, strict=False):
            result[name] = Import(**line)
        if len(lines) < len(left):
            result[left[len(lines)]] = Import(error=f"importing it {fate}")
    return result


def _child(modules: Sequence[str], *, seconds: float) -> tuple[list[dict[str, Any]], str]:
    """The answers that a process gave, and what became of it."""
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), *modules]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=max(seconds, 0.1),
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        return _answers(expired.stdout or b""), "does not end"
    code = ended.returncode
    fate = f"ends the process with {signal.Signals(-code).name if code < 0 else f'code {code}'}"
    return _answers(ended.stdout), fate


def _answers(output: bytes) -> list[dict[str, Any]]:
    # A line that is torn off has no end.
    return [json.loads(line) for line in output.split(b"\n")[:-1]]


def answer(modules: Sequence[str]) -> None:
    """What the child does: a line for each module."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        # Packages print at import; that is no answer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        warnings.simplefilter("ignore")
        for name in modules:
            print(json.dumps(_import(name)), file=out, flush=True)
    # What an import has left running must not keep us.
    os._exit(0)


def _import(name: str) -> dict[str, Any]:
    try:
        module = importlib.import_module(name)
        details = DETAILS[name]() if name in DETAILS else {}
        return {"version": str(getattr(module, "__version__", "")), "details": details}
    except ModuleNotFoundError as error:
        if error.name == name.split(".")[0]:
            return {"missing": True, "error": "not installed"}
        return {"error": _line(error)}
    except BaseException as error:  # SystemExit, too
        return {"error": _line(error)}


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__


def _torch() -> dict[str, Any]:
    import torch

    devices = []
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return {"built_for": torch.version.cuda or "", "devices": devices}


def _onnxruntime() -> dict[str, Any]:
    import onnxruntime

    return {"providers": list(onnxruntime.get_available_providers())}


def _lookups() -> dict[str, Any]:
    from weaksup.concepts.lemmas import Lemmas

    Lemmas()
    return {}


def _english() -> dict[str, Any]:
    from weaksup.concepts.language import installed_model

    return {"model": installed_model() or ""}


def _wordnet() -> dict[str, Any]:
    from weaksup.concepts.wordnet import find_wordnet

    found = find_wordnet()
    return {"version": found.version if found else ""}


# What is asked of a module once it is imported.
DETAILS: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "spacy": _english,
    "spacy_lookups_data": _lookups,
    "weaksup.concepts.wordnet": _wordnet,
}
