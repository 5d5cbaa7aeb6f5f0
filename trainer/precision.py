"""Which precision ``auto`` is on a device."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from trainer.device import check_device


def resolve_precision(*, device: str, precision: str) -> str:
    """The precision that ``make_accelerator`` trains in: ``fp32``, ``bf16`` or ``fp16``.

    Args:
        device: ``auto`` (a GPU if there is one), or as torch names it.
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto``: bf16 or fp16 where the GPU has it.

    Raises:
        UsageError: if the device does not exist here, or cannot do the precision.
    """
    check_device(device=device, precision=precision)
    if precision != "auto":
        return precision
    if device == "cpu" or not torch.cuda.is_available():
        return "fp32"
    numbered = device != "auto" and torch.device(device).index is not None
    with torch.cuda.device(torch.device(device)) if numbered else nullcontext():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp16"
