"""What a captions format is: a test of whether a file is in it, and a reader."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from weaksup.corpora.source import Source
from weaksup.registry import Registry
from weaksup.types import Corpus


class Fit(enum.Enum):
    """How well a file's content fits a format."""

    NO = enum.auto()
    # Nearly this format: worth reading for the error that says what is missing, and never taken
    # for a captions file unasked.
    PARTLY = enum.auto()
    YES = enum.auto()


@dataclass(frozen=True)
class Reader:
    """One captions format.

    Attributes:
        fit: looks at the content, never at the file's name, and never raises for it.
        read: reads the whole file; raises DataError with the place of what is wrong.
    """

    fit: Callable[[Source], Fit]
    read: Callable[[Source], Corpus]


READERS: Registry[Reader] = Registry("captions format")
