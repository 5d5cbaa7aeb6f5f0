"""Names to factories. A miss lists what exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from weaksup.errors import UsageError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping from names to values whose misses are readable.

    Example:
        >>> strategies: Registry[Callable[..., list[str]]] = Registry("strategy")
        >>> @strategies.register("random")
        ... def random_order(...): ...
        >>> strategies.get("random")
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that stores its argument under ``name``.

        Raises:
            ValueError: if the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} '{name}' is registered already")

        def store(value: T) -> T:
            self._entries[name] = value
            return value

        return store

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            UsageError: if there is none; the message lists what exists.
        """
        try:
            return self._entries[name]
        except KeyError:
            nearest = did_you_mean(name, self._entries)
            raise UsageError(
                f"unknown {self.kind} '{name}'" + (f": {nearest}" if nearest else ""),
                f"known names: {', '.join(self.names())}",
            ) from None
