from __future__ import annotations

import pytest
import torch

from trainer.device import make_accelerator, resolve_precision
from weaksup.errors import UsageError

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "auto"),
        ("cpu", "fp32"),
        ("cpu", "bf16"),
        ("auto", "auto"),
        pytest.param("cuda", "auto", marks=gpu),
    ],
)
def test_it_is_what_is_trained_in(device, precision):
    mixed = make_accelerator(device=device, precision=precision).mixed_precision
    found = resolve_precision(device=device, precision=precision)
    assert found == ("fp32" if mixed == "no" else mixed)


@no_gpu
@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp16")])
def test_on_a_gpu_auto_is_what_it_has_in_hardware(monkeypatch, native, expected):
    """There is none here: torch is made to report one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    for device in ("auto", "cuda"):
        assert resolve_precision(device=device, precision="auto") == expected
    assert resolve_precision(device="cpu", precision="auto") == "fp32"


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(UsageError, match="cuda:99"):
        resolve_precision(device="cuda:99", precision="auto")
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        resolve_precision(device="cpu", precision="fp16")
