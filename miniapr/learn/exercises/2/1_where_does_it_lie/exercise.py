"""Between tokens and slots."""

from __future__ import annotations

from collections.abc import Sequence


def slots(table: Sequence[int], block_size: int, start: int, stop: int) -> list[int]:
    """Where tokens ``start`` to ``stop`` (without it) lie."""
    # <solution>
    return [table[i // block_size] * block_size + i % block_size for i in range(start, stop)]
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def blocks_needed(tokens: int, block_size: int) -> int:
    """How many blocks ``tokens`` tokens take."""
    # <solution>
    return -(-tokens // block_size)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def token_at(table: Sequence[int], block_size: int, slot: int) -> int | None:
    """Which token of the text may lie in ``slot``; None if the slot is in no block of the text."""
    # <solution>
    block, offset = divmod(slot, block_size)
    return table.index(block) * block_size + offset if block in table else None
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>
