"""Fixtures of the concept tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from weaksup.concepts import English
from weaksup.concepts.lemmas import Lemmas
from weaksup.concepts.wordnet import FOLDER_VARIABLE, WordNet, find_wordnet


@pytest.fixture(scope="session")
def english() -> English:
    return English()


@pytest.fixture(scope="session")
def lemmas() -> Lemmas:
    return Lemmas()


@pytest.fixture
def wordnet(monkeypatch: pytest.MonkeyPatch) -> WordNet:
    """The installed WordNet."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    found = find_wordnet()
    if found is None:
        pytest.skip("WordNet is not installed")
    return found


@pytest.fixture
def no_wordnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which WordNet is not installed."""
    empty = tmp_path / "no-wordnet"
    empty.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(empty))
