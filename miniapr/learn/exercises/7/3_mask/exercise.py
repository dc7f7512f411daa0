"""Positions and mask of a stitched training example."""

from __future__ import annotations


def pack(prefix: int, branches: list[int], after: int) -> tuple[list[int], list[list[bool]]]:
    """Each argument counts tokens; returns the positions, and who sees whom."""
    # <solution>
    last = len(branches) + 1
    lengths = [prefix, *branches, after]
    starts = [0, *[prefix] * len(branches), prefix + max(branches, default=0)]
    part = [number for number, length in enumerate(lengths) for _ in range(length)]
    positions = [start + i for start, length in zip(starts, lengths, strict=True) for i in range(length)]
    visible = [
        [j <= i and (part[j] == 0 or part[j] == part[i] or part[i] == last) for j in range(len(part))]
        for i in range(len(part))
    ]
    return positions, visible
    # </solution>
    # <stub>
    # total = prefix + sum(branches) + after
    # return list(range(total)), [[j <= i for j in range(total)] for i in range(total)]  # ordinary text
    # </stub>
