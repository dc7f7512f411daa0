"""Every branch copies."""

from __future__ import annotations


def views(past: int, k: int, own: int, size: int) -> int:
    """Blocks in use at the end, with spans and views."""
    return -(-past // size) + k * -(-own // size)


def on_write(past: int, k: int, own: int, size: int) -> tuple[int, int]:
    """Blocks in use at the end, and blocks that were copied, with copy-on-write."""
    full = past // size
    return full + k * (-(-(past + own) // size) - full), (k if past % size else 0)
