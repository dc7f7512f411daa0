"""Copies everything, shared or not."""

from __future__ import annotations

from dataclasses import dataclass, field


class Full(Exception):
    """Not enough free blocks."""


@dataclass
class Pool:
    """Blocks of keys, how many read each, and those that nobody does."""

    keys: list[list[int]]
    readers: list[int]
    free: list[int] = field(default_factory=list)

    def take(self) -> int:
        if not self.free:
            raise Full("no block is free")
        block = self.free.pop()
        self.readers[block] = 1
        return block


def move(pool: Pool, blocks: list[int], by: int) -> list[int]:
    """Move the keys of these blocks for one of their readers; returns the blocks that it reads from now on."""
    shared = sum(pool.readers[block] > 1 for block in blocks)
    if shared > len(pool.free):
        raise Full(f"{shared} copies are needed, {len(pool.free)} blocks are free")
    mine = []
    for old in blocks:
        block = old
        block = pool.take()
        pool.readers[old] -= 1
        pool.keys[block] = [key + by for key in pool.keys[old]]
        mine.append(block)
    return mine
