"""The mask of a weave."""

from __future__ import annotations

from collections.abc import Sequence


def mask(prefix: int, lengths: Sequence[int]) -> list[list[bool]]:
    """Who attends to whom: ``prefix`` tokens before the fork, then each worker's, of ``lengths``."""
    # <solution>
    tokens = [(False, i) for i in range(prefix)] + [(True, i) for length in lengths for i in range(length)]
    return [[(a[0] or not b[0]) and (a[0] > b[0] or b[1] <= a[1]) for b in tokens] for a in tokens]
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>
