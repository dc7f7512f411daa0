"""One block too many where the last one is full."""

from __future__ import annotations

from collections.abc import Sequence


def slots(table: Sequence[int], block_size: int, start: int, stop: int) -> list[int]:
    """Where tokens ``start`` to ``stop`` (without it) lie."""
    return [table[i // block_size] * block_size + i % block_size for i in range(start, stop)]


def blocks_needed(tokens: int, block_size: int) -> int:
    """How many blocks ``tokens`` tokens take."""
    return tokens // block_size + 1


def token_at(table: Sequence[int], block_size: int, slot: int) -> int | None:
    """Which token of the text may lie in ``slot``; None if the slot is in no block of the text."""
    block, offset = divmod(slot, block_size)
    return table.index(block) * block_size + offset if block in table else None
