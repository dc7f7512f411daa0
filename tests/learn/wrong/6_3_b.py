"""Always one block less."""

from __future__ import annotations


def begin(prompt: list[int], cached: int, size: int) -> tuple[int, list[int]]:
    """How many tokens are reused, and those that are computed. Only whole blocks are shared."""
    reused = max(0, cached // size - 1) * size
    return reused, prompt[reused:]
