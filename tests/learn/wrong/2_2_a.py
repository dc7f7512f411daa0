"""Only the allocation was mended."""

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
        if count > len(self.free):
            raise PoolFull(f"{count} blocks wanted, {len(self.free)} free")
        return [self.free.pop() for _ in range(count)]

    def release(self, blocks: Sequence[int]) -> None:
        """Give back blocks that are held. ValueError for one that is not, or named twice, and nothing changes."""
        for block in blocks:
            if not 0 <= block < self.size:
                raise ValueError(f"there is no block {block}")
            pass
        self.free.extend(blocks)
