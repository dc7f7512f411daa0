"""Branches go on in the prompt's last block."""

from __future__ import annotations


def branches_apart(blocks: int, block_size: int, prompt: int, each: int) -> int:
    """How many fit if every branch has the prompt for itself."""
    return blocks // -(-(prompt + each) // block_size)


def branches_shared(blocks: int, block_size: int, prompt: int, each: int) -> int:
    """How many fit if all read one prompt."""
    left = blocks - prompt // block_size
    return max(0, left // -(-(prompt % block_size + each) // block_size))
