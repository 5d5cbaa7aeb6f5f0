"""Places of labels beside one another: apart, and as near as can be to what they name."""

from __future__ import annotations

from collections.abc import Sequence


def apart(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move rising values as little as need be to be ``gap`` apart and half of it within bounds.

    The sum of the squares of all movements is the least that there is: this is isotonic
    regression, of what is left of the values when ``gap`` a place is taken away, and between
    bounds its solution is the one without them, clipped. Source: Barlow et al., Statistical
    Inference under Order Restrictions, 1972.

    Args:
        values: rising.
        gap: between neighbours, at least.
        low: lower bound; the first is half a gap above it, or more.
        high: upper bound; the last is half a gap below it, or more.

    Raises:
        ValueError: if the bounds have no room for all.
    """
    if len(values) * gap > high - low:
        raise ValueError(f"{len(values)} labels with {gap} each have no room in {low} to {high}")
    last = len(values) - 1
    return [
        min(max(value, low + gap * (place + 0.5)), high - gap * (last - place + 0.5))
        for place, value in enumerate(_unbounded(values, gap))
    ]


def _unbounded(values: Sequence[float], gap: float) -> list[float]:
    """Neighbours that are too near become a block around the mean of what they were."""
    blocks: list[tuple[float, int]] = []  # centre and how many
    for value in values:
        blocks.append((value, 1))
        while len(blocks) > 1:
            (below, few), (above, many) = blocks[-2:]
            if above - below >= gap * (few + many) / 2:
                break
            blocks[-2:] = [((below * few + above * many) / (few + many), few + many)]
    return [
        centre + gap * (place - (count - 1) / 2)
        for centre, count in blocks
        for place in range(count)
    ]
