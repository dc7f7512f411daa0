"""Positions in a text that everybody ends."""

from __future__ import annotations

from collections.abc import Sequence


def moved(lengths: Sequence[int], me: int, i: int) -> list[int]:
    """By how much each worker's words count as moved for word ``i`` of worker ``me``; then the text before the fork."""
    # <solution>
    seen = [min(length, i + 1) for length in lengths]
    ahead = sum(seen) - seen[me]
    at, shifts = 0, []
    for worker, count in enumerate(seen):
        if worker == me:
            shifts.append(0)
        else:
            shifts.append(at - ahead)
            at += count
    return [*shifts, -ahead]
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>
