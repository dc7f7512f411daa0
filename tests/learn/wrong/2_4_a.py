"""Counts tokens, not blocks."""

from __future__ import annotations


def branches_apart(blocks: int, block_size: int, prompt: int, each: int) -> int:
    """How many fit if every branch has the prompt for itself."""
    return blocks * block_size // (prompt + each)


def branches_shared(blocks: int, block_size: int, prompt: int, each: int) -> int:
    """How many fit if all read one prompt."""
    return max(0, (blocks * block_size - prompt) // each)
