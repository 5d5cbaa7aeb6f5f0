"""Errors that a user can mend: one message, one hint, one exit code."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Of 1: below it, what two words share is chance, as in `nocommand` and `compare` (0.5).
_ALIKE = 0.6


class UserError(Exception):
    """Something that the user, not the developer, can mend.

    Args:
        message: what is wrong and where.
        hint: what to do about it; empty when the message already says so.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(UserError):
    """A wrong option, an unknown name or key, an option's path that does not exist."""

    exit_code = 2


class DataError(UserError):
    """Input data that is bad or missing: an empty folder, a damaged file, a missing store."""

    exit_code = 3


class MissingDependencyError(UserError):
    """A package, a weights file or a data package that is not installed."""

    exit_code = 4


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for the nearest known name, or an empty string."""
    nearest = nearest_name(name, known)
    return "" if nearest is None else f"did you mean '{nearest}'?"


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like ``name``, if any is like it."""
    nearest = get_close_matches(name, list(known), n=1, cutoff=_ALIKE)
    return nearest[0] if nearest else None
