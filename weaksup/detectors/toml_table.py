"""A TOML file whose keys are checked one by one and whose errors are told all together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weaksup.errors import DataError, UsageError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Kind:
    """What a value must be: a test, and its description for the message."""

    words: str
    test: Callable[[Any], bool]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: object, test: Callable[[Any], bool], length: int | None = None) -> bool:
    return (
        isinstance(value, list)
        and (length is None or len(value) == length)
        and all(test(item) for item in value)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


TEXT = Kind("a name", _is_text)
NUMBER = Kind("a number", _is_number)
WHOLE = Kind("a whole number", _is_whole)
GREY = Kind("a whole number from 0 to 255", lambda v: _is_whole(v) and 0 <= v <= 255)
FRACTION = Kind("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
TRIPLE = Kind("three numbers", lambda v: _is_list(v, _is_number, 3))
STD = Kind("three numbers over 0", lambda v: _is_list(v, lambda x: _is_number(x) and x > 0, 3))
SIZE = Kind("[height, width]", lambda v: _is_list(v, lambda x: _is_whole(x) and x > 0, 2))
NAMES = Kind("a list of names", lambda v: _is_list(v, _is_text))
LABELS = Kind(
    '"coco", a file, or a list of names',
    lambda v: _is_text(v) or (_is_list(v, _is_text) and bool(v)),
)


def one_of(choices: Sequence[str]) -> Kind:
    """One of ``choices``."""
    return Kind("one of " + ", ".join(choices), lambda value: value in choices)


class Table:
    """A TOML table that is taken key by key; gathers what is wrong, to say it all at once."""

    def __init__(
        self, path: Path, content: dict[str, Any], problems: list[str], prefix: str = ""
    ) -> None:
        self.problems = problems
        self._path = path
        self._content = content
        self._prefix = prefix
        self._known: list[str] = []

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a file.

        Raises:
            DataError: if it is no TOML.
        """
        try:
            return cls(path, tomllib.loads(path.read_text(encoding="utf-8")), [])
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise DataError(f"the description {path} cannot be read: {error}") from error

    def take(self, key: str, kind: Kind, **default: Any) -> Any:
        """The value of ``key``; without a ``default`` it is required."""
        self._known.append(key)
        name = self._prefix + key
        if key not in self._content:
            if "default" not in default:
                self.problems.append(f"`{name}` is missing: {kind.words}")
            return default.get("default")
        value = self._content[key]
        if not kind.test(value):
            self.problems.append(f"`{name}` is {value!r}: it must be {kind.words}")
            return default.get("default")
        return value

    def inner(self, key: str) -> Table:
        """The table under ``key``; an empty one if it is missing."""
        self._known.append(key)
        content = self._content.get(key, {})
        if not isinstance(content, dict):
            self.problems.append(f"`{key}` must be a table: [{key}]")
            content = {}
        return Table(self._path, content, self.problems, f"{key}.")

    def close(self) -> None:
        """Note the keys that nobody took."""
        for key in self._content:
            if key not in self._known:
                nearest = did_you_mean(key, self._known)
                note = f"unknown key `{self._prefix}{key}`" + (f": {nearest}" if nearest else "")
                self.problems.append(note)

    def finish(self) -> None:
        """Raise UsageError if anything was wrong."""
        self.close()
        if self.problems:
            raise UsageError(
                f"the description {self._path} is wrong:\n  " + "\n  ".join(self.problems),
                "`python -m pydoc weaksup.detectors.description` shows every key",
            )
