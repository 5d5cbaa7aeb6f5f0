"""Numbers and lists in messages: with their nouns, rounded as they are shown, and cut short."""

from __future__ import annotations

import math
from collections.abc import Sequence


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 image``, ``1,234 images``.

    Args:
        number: not below 0.
        one: the noun of a single thing, with its verb where there is one: ``image is``.
        many: of all other numbers; ``one`` and an s by default.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def first_few(phrases: Sequence[str], *, separator: str = ", ", most: int = 3) -> str:
    """The first phrases, and how many more there are: ``a, b, c and 2 more``.

    Args:
        phrases: any number.
        separator: between two of them; ``"; "`` where they hold commas.
        most: that are told.
    """
    told, more = separator.join(phrases[:most]), len(phrases) - most
    if more <= 0:
        return told
    return f"{told}{separator.strip(' ,')} and {more:,} more"


def decimals(value: float, digits: int) -> str:
    """A number with so many digits after the point; what rounds to zero has no sign.

    Args:
        value: any.
        digits: at least 1.
    """
    return f"{round(value, digits) + 0.0:.{digits}f}"


def rounded_together(values: Sequence[float], *, digits: int) -> list[float]:
    """Round so that what is shown sums to the rounded sum: the method of largest remainders.

    Each value goes to one of its two neighbours with so many digits.

    Args:
        values: finite, of any sign.
        digits: after the point.
    """
    unit = 10.0**digits
    scaled = [value * unit for value in values]
    floors = [math.floor(value) for value in scaled]
    missing = round(sum(scaled)) - sum(floors)
    order = sorted(range(len(values)), key=lambda place: floors[place] - scaled[place])
    raised = set(order[:missing])
    return [(floor + (place in raised)) / unit for place, floor in enumerate(floors)]
