"""One token less, in the middle of a block."""

from __future__ import annotations


def begin(prompt: list[int], cached: int, size: int) -> tuple[int, list[int]]:
    """How many tokens are reused, and those that are computed. Only whole blocks are shared."""
    reused = cached // size * size
    if reused == len(prompt):
        reused -= 1
    return reused, prompt[reused:]
