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
