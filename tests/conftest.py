"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and models beside the checkout."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "flickr8k").is_dir():
        pytest.skip("no real data in ../shared")
    return folder


@pytest.fixture
def forgotten_proxies(monkeypatch) -> None:
    """Undo what urlopen remembers: the proxies of whatever called it first, even after a test."""
    monkeypatch.setattr("urllib.request._opener", None)


@pytest.fixture
def no_network(monkeypatch, forgotten_proxies) -> None:
    """No way out to the network: every proxy refuses."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
