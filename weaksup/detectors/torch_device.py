"""Where and how precisely a torch model runs."""

from __future__ import annotations

import torch

from weaksup.errors import MissingDependencyError, UsageError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUTO = "auto"


def resolve_device(name: str) -> torch.device:
    """A device by its name; ``auto`` takes the first GPU, else the CPU.

    Raises:
        UsageError: if torch knows no such device.
        MissingDependencyError: if this machine or this torch has none.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"unknown device '{name}'", "known devices: auto, cpu, cuda, cuda:N, mps"
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MissingDependencyError(
            f"the device '{name}' cannot be used: {str(error).splitlines()[0]}",
            "take --device cpu, or install a torch that supports it: https://pytorch.org",
        ) from None
    return device


def resolve_precision(name: str, *, device: torch.device) -> torch.dtype:
    """What matrix products are computed in; ``auto`` is fp16 on a GPU and fp32 elsewhere.

    Raises:
        UsageError: if the name is unknown.
    """
    if name == AUTO:
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in PRECISIONS:
        raise UsageError(
            f"unknown precision '{name}'", f"known precisions: {', '.join([AUTO, *PRECISIONS])}"
        )
    return PRECISIONS[name]
