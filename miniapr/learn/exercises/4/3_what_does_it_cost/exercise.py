"""Blocks and copies of a fork."""

from __future__ import annotations


def views(past: int, k: int, own: int, size: int) -> int:
    """Blocks in use at the end, with spans and views."""
    # <solution>
    return -(-past // size) + k * -(-own // size)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def on_write(past: int, k: int, own: int, size: int) -> tuple[int, int]:
    """Blocks in use at the end, and blocks that were copied, with copy-on-write."""
    # <solution>
    full = past // size
    return full + k * (-(-(past + own) // size) - full), (k - 1 if past % size else 0)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>
