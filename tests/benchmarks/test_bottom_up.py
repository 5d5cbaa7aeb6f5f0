"""The comparison with bottom-up-attention.pytorch says what it cannot run on."""

from __future__ import annotations

import pytest

from benchmarks.bottom_up import Stamps, main


def test_another_folder_than_a_clone_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bottom_up", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert f"{tmp_path} is no clone of bottom-up-attention.pytorch" in message
    assert "configs/d2/test-d2-r50.yaml" in message


def test_the_rate_is_from_the_first_call_to_the_last():
    seconds = iter([10.0, 12.0, 18.0])
    stamps = Stamps(lambda: next(seconds))
    stamps.remote()  # the model is loaded
    stamps.update.remote(1)
    stamps.update.remote(1)
    assert stamps.rate(2) == pytest.approx(0.25)
