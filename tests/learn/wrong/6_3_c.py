"""Reuses a part of a block."""

from __future__ import annotations


def begin(prompt: list[int], cached: int, size: int) -> tuple[int, list[int]]:
    """How many tokens are reused, and those that are computed. Only whole blocks are shared."""
    reused = min(cached, len(prompt) - 1)
    return reused, prompt[reused:]
