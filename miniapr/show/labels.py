"""Where labels beside points can be read: no label lies on another, on a point, or outside of the frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """In pixels, from the lower left corner."""

    left: float
    low: float
    right: float
    high: float

    def meets(self, other: Box) -> bool:
        return self.left < other.right and other.left < self.right and self.low < other.high and other.low < self.high

    def within(self, other: Box) -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.low <= self.low and self.high <= other.high


def placed(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    marker: float,
    drawn: Sequence[Box] = (),
) -> list[Box | None]:
    """A box for the label of each point, the first ones first: the nearest place that is free, in rings around the
    point; None where there is none. ``sizes``: width and height of each. ``marker``: half of a point's width.
    ``drawn``: what else shall not be written upon."""
    taken = [Box(x - marker, y - marker, x + marker, y + marker) for x, y in points] + list(drawn)
    found: list[Box | None] = []
    for point, size in zip(points, sizes, strict=True):
        free = (box for box in _around(point, size, marker) if box.within(frame) and not any(map(box.meets, taken)))
        place = next(free, None)
        found.append(place)
        if place:
            taken.append(place)
    return found


def _around(point: tuple[float, float], size: tuple[float, float], marker: float) -> Iterator[Box]:
    """Boxes beside a point, then further and further away."""
    (x, y), (width, height) = point, size
    for ring in range(12):
        away = marker + 2 + ring * height / 2
        for turn in range(16):
            angle = math.pi / 8 * ((turn + 1) // 2 * (-1) ** turn + 2)  # to the upper right first
            across, up = math.cos(angle), math.sin(angle)
            left = x + away * across + (round(across, 6) < 0) * -width - (round(across, 6) == 0) * width / 2
            low = y + away * up + (round(up, 6) < 0) * -height - (round(up, 6) == 0) * height / 2
            yield Box(left, low, left + width, low + height)
