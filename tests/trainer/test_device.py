from __future__ import annotations

import pytest
import torch

from trainer.device import check_device, choose_device, make_accelerator, resolve_precision
from trainer.distributed import World
from weaksup.errors import UsageError

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize(("precision", "mixed"), [("fp32", "no"), ("bf16", "bf16"), ("auto", "no")])
def test_cpu(precision, mixed):
    # One after the other in one process, as a pipeline of several runs does.
    accelerator = make_accelerator(device="cpu", precision=precision)
    assert (accelerator.device.type, accelerator.mixed_precision) == ("cpu", mixed)


@no_gpu
def test_auto_without_a_gpu_is_the_cpu_in_full_precision():
    accelerator = make_accelerator(device="auto", precision="auto")
    assert (accelerator.device.type, accelerator.mixed_precision) == ("cpu", "no")


def test_half_precision_is_not_for_a_cpu():
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        make_accelerator(device="cpu", precision="fp16")


def test_what_is_refused_can_be_told_beforehand():
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        check_device(device="cpu", precision="fp16")
    with pytest.raises(UsageError, match="cuda:99"):
        check_device(device="cuda:99", precision="auto")
    check_device(device="cpu", precision="bf16")


@pytest.fixture
def chosen(monkeypatch):
    """The numbers of the GPUs that are chosen. There is none here: torch is made to report two."""
    found = []

    def set_device(device):
        if device.index is None:  # as torch does
            raise ValueError("Expected a torch.device with a specified index")
        found.append(device.index)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    return found


@no_gpu
@pytest.mark.parametrize(("device", "numbers"), [("cuda", []), ("cuda:1", [1]), ("auto", [])])
def test_a_gpu_is_chosen_by_its_number_alone(chosen, device, numbers):
    make_accelerator(device=device, precision="fp32")
    assert chosen == numbers


@no_gpu
@pytest.mark.parametrize(
    ("device", "place", "hint"),
    [
        ("cuda:1", "0", "use the setting device=auto or cpu"),
        ("cuda", "2", "start one process a GPU .*, or use the setting device=cpu"),
    ],
)
def test_what_is_no_gpu_of_one_process_alone_is_refused(chosen, monkeypatch, device, place, hint):
    monkeypatch.setenv("LOCAL_RANK", place)
    with pytest.raises(UsageError, match=f"processes.*\n.*{hint}"):
        make_accelerator(device=device, precision="fp32", world=World(0, 3))


@no_gpu
@pytest.mark.parametrize(("place", "said"), [(None, "not set"), ("", "not set"), ("one", "one")])
def test_of_several_processes_each_must_be_told_its_gpu(chosen, monkeypatch, place, said):
    if place is None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    else:
        monkeypatch.setenv("LOCAL_RANK", place)
    with pytest.raises(UsageError, match=f"LOCAL_RANK is {said}\n.*torchrun"):
        make_accelerator(device="cuda", precision="fp32", world=World(0, 2))


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:99", pytest.param("cuda", marks=no_gpu)])
def test_a_device_that_is_not_here(device):
    with pytest.raises(UsageError, match=device):
        make_accelerator(device=device, precision="auto")


def test_what_is_trained_already_works_on_what_there_is():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match=r"device cuda:99 is not here.*\n.*use the device auto"):
        choose_device("cuda:99")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        choose_device("gpu")


@no_gpu
def test_a_gpu_does_not_round_what_is_evaluated(chosen, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("auto") == torch.device("cuda")
    assert not torch.backends.cudnn.allow_tf32


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
def test_the_precision_that_is_resolved_is_trained_in(device, precision):
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


def test_no_precision_is_resolved_for_a_device_that_is_not_here():
    with pytest.raises(UsageError, match="cuda:99"):
        resolve_precision(device="cuda:99", precision="auto")
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        resolve_precision(device="cpu", precision="fp16")
