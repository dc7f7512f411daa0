"""What a new request takes from the prefix cache."""

from __future__ import annotations


def begin(prompt: list[int], cached: int, size: int) -> tuple[int, list[int]]:
    """How many tokens are reused, and those that are computed. Only whole blocks are shared."""
    # <solution>
    reused = min(cached, len(prompt) - 1) // size * size
    # </solution>
    # <stub>
    # reused = cached // size * size
    # </stub>
    return reused, prompt[reused:]
