"""Which device and which precision a run uses."""

from __future__ import annotations

import os
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from trainer.distributed import ALONE, World
from weaksup.errors import UsageError


def make_accelerator(*, device: str, precision: str, world: World = ALONE) -> Accelerator:
    """An accelerator for this process.

    Args:
        device: ``auto`` (a GPU if there is one), or as torch names it.
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto``: bf16 or fp16 where the GPU has it.
        world: of several processes each has the GPU of its place on its machine.

    Raises:
        UsageError: if the device does not exist here, cannot do the precision, or cannot be that
            of every process.
    """
    precision = resolve_precision(device=device, precision=precision)
    on_cpu = _is_cpu(device)
    if not on_cpu and device != "auto":
        _choose_gpu(torch.device(device))
    if not on_cpu and not world.alone:
        _check_place(device)
    # It keeps its state for the whole process: a second run of other settings would be refused.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=on_cpu, mixed_precision="no" if precision == "fp32" else precision)


def resolve_precision(*, device: str, precision: str) -> str:
    """The precision that ``make_accelerator`` trains in: ``fp32``, ``bf16`` or ``fp16``.

    Args:
        device: as for ``make_accelerator``.
        precision: as for ``make_accelerator``.

    Raises:
        UsageError: if the device does not exist here, or cannot do the precision.
    """
    check_device(device=device, precision=precision)
    if precision != "auto":
        return precision
    if _is_cpu(device):
        return "fp32"
    numbered = device != "auto" and torch.device(device).index is not None
    with torch.cuda.device(torch.device(device)) if numbered else nullcontext():
        # The reduced precision that the GPU has in hardware: older ones only emulate bf16.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp16"


def choose_device(device: str) -> torch.device:
    """Where a run that is trained does its work, in full precision.

    Args:
        device: as for ``make_accelerator``.

    Raises:
        UsageError: if the device does not exist here.
    """
    if _is_cpu(device):
        return torch.device("cpu")
    if device != "auto":
        _check_gpu(device, hint="use the device auto or cpu")
    # Recurrent layers would round to 10 bits, and evaluation differ from that on a processor.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if device == "auto" else device)


def check_device(*, device: str, precision: str) -> None:
    """Refuse what this machine does not have; nothing is changed.

    Args:
        device: as for ``make_accelerator``.
        precision: as for ``make_accelerator``.

    Raises:
        UsageError: if the device does not exist here, or cannot do the precision.
    """
    on_cpu = _is_cpu(device)
    if not on_cpu and device != "auto":
        _check_gpu(device, hint="use the setting device=auto or cpu")
    if on_cpu and precision == "fp16":
        raise UsageError(
            "precision fp16 needs a GPU",
            "use the setting precision=bf16 or fp32 on a CPU",
        )


def _choose_gpu(device: torch.device) -> None:
    """Make a numbered GPU the process's own; ``cuda`` is the one that is that already."""
    if device.index is not None:
        torch.cuda.set_device(device)


def _is_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and not torch.cuda.is_available())


def _check_place(device: str) -> None:
    """Refuse what accelerate would make up for by sharing GPUs, of which NCCL knows nothing."""
    if device not in ("auto", "cuda"):
        raise UsageError(
            f"device {device} cannot be that of several processes",
            "use the setting device=auto or cpu",
        )
    place, count = os.environ.get("LOCAL_RANK", ""), torch.cuda.device_count()
    if not place.isdecimal():
        raise UsageError(
            "which GPU is this one's of several processes is not said: LOCAL_RANK is "
            f"{place or 'not set'}",
            "start them with torchrun or accelerate launch, set LOCAL_RANK to the number of each "
            "on its machine, or use the setting device=cpu",
        )
    if int(place) >= count:
        raise UsageError(
            f"there are more processes on this machine than GPUs ({count})",
            "start one process a GPU (torchrun --nproc-per-node), or use the setting device=cpu",
        )


def _check_gpu(device: str, *, hint: str) -> None:
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{device}'", "use auto, cpu, cuda or cuda:N") from error
    if wanted.type != "cuda":
        raise UsageError(f"work on '{device}' is not supported", "use auto, cpu or cuda:N")
    count = torch.cuda.device_count()
    if (wanted.index or 0) >= count:
        raise UsageError(
            f"device {device} is not here: torch sees {count} GPUs",
            hint,
        )
