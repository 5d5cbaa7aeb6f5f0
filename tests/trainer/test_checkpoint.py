from __future__ import annotations

import errno
import json
import os
import random
import resource
import stat
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from trainer.checkpoint import (
    Position,
    check_fingerprint,
    load_state,
    load_weights,
    read_fingerprint,
    save_state,
    save_weights,
    seed_everything,
)
from weaksup.errors import DataError, UsageError

CPU = torch.device("cpu")
FINGERPRINT = {"settings": "a", "regions": "b"}


def modules(seed=0):
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    return {"model": model, "optimizer": optimizer, "schedule": schedule}


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "last.pt"
    save_state(path, modules=modules(), position=Position(2, 3, 61.5, 1), fingerprint=FINGERPRINT)
    return path


def test_weights_are_whole_and_only_the_file_is_left(tmp_path):
    model = nn.BatchNorm1d(3)
    model.running_mean.fill_(0.5)
    save_weights(tmp_path / "model.safetensors", model)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert set(load_file(tmp_path / "model.safetensors")) == set(model.state_dict())
    other = nn.BatchNorm1d(3)
    load_weights(tmp_path / "model.safetensors", other)
    assert other.running_mean.equal(model.running_mean)


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_files_are_for_whom_the_umask_says(tmp_path, mask):
    (tmp_path / "model.safetensors.tmp").touch(mode=0o600)  # as a kill leaves it
    before = os.umask(mask)
    try:
        save_weights(tmp_path / "model.safetensors", nn.Linear(3, 2))
        save_state(
            tmp_path / "last.pt", modules=modules(), position=Position(), fingerprint=FINGERPRINT
        )
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path.name


def test_a_file_system_without_permissions_takes_weights_all_the_same(tmp_path, monkeypatch):
    """Such as CIFS and vfat, which cannot be mounted here."""

    def refuse(path, mode):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    monkeypatch.setattr(Path, "chmod", refuse)
    save_weights(tmp_path / "model.safetensors", nn.Linear(3, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_full_disk_leaves_what_was_there(state, tmp_path):
    weights = tmp_path / "model.safetensors"
    save_weights(weights, nn.Linear(3, 2))
    before = {path.name: path.read_bytes() for path in (weights, state)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"model\.safetensors cannot be written: .*too large"):
            save_weights(weights, nn.Linear(3, 2000))
        with pytest.raises(DataError, match=r"last\.pt cannot be written: .*too large") as caught:
            save_state(state, modules=modules(), position=Position(), fingerprint=FINGERPRINT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "make room" in caught.value.hint
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_of_another_shape_or_with_other_names_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, nn.Linear(3, 2))
    for other, said in (
        (nn.Linear(3, 4), "of another shape: bias, weight"),
        (nn.Linear(3, 2, bias=False), "not known: bias"),
        (nn.Sequential(nn.Linear(3, 2)), "missing: 0.bias, 0.weight; not known: bias, weight"),
        (nn.LSTM(3, 2), "missing: bias_hh_l0, bias_ih_l0, weight_hh_l0 and 1 more; not known:"),
    ):
        with pytest.raises(DataError, match=r"does not fit its config\.json") as caught:
            load_weights(path, other)
        assert said in caught.value.message
        assert len(caught.value.message.splitlines()) == 1
        assert "train it again" in caught.value.hint


def test_the_state_of_another_version_is_refused(state):
    for name, other in (
        ("model", nn.Linear(3, 4)),
        ("model", nn.Linear(3, 2, bias=False)),
        ("objective", nn.Linear(3, 2)),
    ):
        with pytest.raises(DataError, match=f"its {name} is another one"):
            load_state(
                state, modules={**modules(), name: other}, fingerprint=FINGERPRINT, device=CPU
            )


@pytest.mark.parametrize("content", [None, b"", b"\0" * 100])
def test_damaged_or_missing_weights(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_weights(path, nn.Linear(3, 2))


def test_the_state_comes_back_with_the_random_numbers(state):
    torch.manual_seed(5)
    save_state(state, modules=modules(), position=Position(2, 3, 61.5, 1), fingerprint=FINGERPRINT)
    drawn = torch.rand(3)
    expected, found = modules(), modules(seed=1)
    position = load_state(state, modules=found, fingerprint=FINGERPRINT, device=CPU)
    assert torch.rand(3).equal(drawn)
    assert asdict(position) == asdict(Position(2, 3, 61.5, 1))
    assert found["model"].weight.equal(expected["model"].weight)
    moments = [m["optimizer"].state_dict()["state"][0]["exp_avg"] for m in (found, expected)]
    assert moments[0].equal(moments[1])
    assert found["schedule"].state_dict() == expected["schedule"].state_dict()
    assert [path.name for path in state.parent.iterdir()] == [state.name]


def test_a_state_that_another_process_has_removed_is_not_damaged(tmp_path):
    for read in (read_fingerprint, lambda path: check_fingerprint(path, FINGERPRINT)):
        with pytest.raises(DataError, match=r"last\.pt is gone: .*\n.*run the same command again"):
            read(tmp_path / "last.pt")


def test_a_state_is_read_to_main_memory_whatever_the_device(state):
    """So that an optimizer's numbers of steps stay there; a machine without a GPU can tell."""
    found = modules(seed=1)
    load_state(state, modules=found, fingerprint=FINGERPRINT, device=torch.device("cuda"))
    moments = found["optimizer"].state.values()
    assert {moment["step"].device for moment in moments} == {CPU}


@pytest.mark.skipif(sys.platform != "linux", reason="counts what is read as Linux does")
def test_a_fingerprint_is_read_without_the_weights(tmp_path):
    def read_bytes():
        return int(Path("/proc/self/io").read_text().split()[1])

    path = tmp_path / "last.pt"
    save_state(
        path, modules={"model": nn.Linear(1000, 1000)}, position=Position(), fingerprint=FINGERPRINT
    )
    before = read_bytes()
    assert read_fingerprint(path) == FINGERPRINT
    assert read_bytes() - before < path.stat().st_size / 10


def test_another_fingerprint_is_refused_by_name(state):
    assert read_fingerprint(state) == FINGERPRINT
    check_fingerprint(state, FINGERPRINT)
    other = {"settings": "x", "regions": "b", "captions": "new"}
    with pytest.raises(UsageError, match="other settings and captions"):
        check_fingerprint(state, other)
    with pytest.raises(UsageError, match="other settings and captions"):
        load_state(state, modules=modules(), fingerprint=other, device=CPU)


def test_settings_that_differ_are_told_with_both_values(tmp_path):
    def made_from(**settings):
        return {"settings": json.dumps({"model": "cca", **settings}), "regions": "b"}

    path = tmp_path / "last.pt"
    before = made_from(epochs=3, loss={"margin": 0.2, "w_adv": 0.1}, lr=1e-3, seed=0)
    save_state(path, modules=modules(), position=Position(), fingerprint=before)
    with pytest.raises(UsageError) as caught:
        check_fingerprint(path, made_from(epochs=30, loss={"margin": 0.2, "w_adv": 0}, seed=0))
    assert caught.value.message == (
        f"the interrupted run in {tmp_path} was made with other settings "
        "(epochs 3, now 30; loss.w_adv 0.1, now 0; lr 0.001, now none)"
    )
    with pytest.raises(UsageError, match=r"seed 0, now 1; and 1 more\)"):
        check_fingerprint(path, made_from(epochs=3, loss={"margin": 0.3}, lr=2, seed=1))


def damage(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "pickle":
        torch.save(random.Random(0), path)
    else:
        torch.save({"modules": {}}, path)


@pytest.mark.parametrize("how", ["cut", "empty", "pickle", "other"])
def test_a_damaged_state_is_bad_data_and_no_code_is_run(state, how):
    damage(state, how)
    for read in (
        lambda: read_fingerprint(state),
        lambda: check_fingerprint(state, FINGERPRINT),
        lambda: load_state(state, modules=modules(), fingerprint=FINGERPRINT, device=CPU),
    ):
        with pytest.raises(DataError, match=r"last\.pt"):
            read()


def test_a_seed_sets_every_generator():
    drawn = []
    for _ in range(2):
        seed_everything(11)
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
