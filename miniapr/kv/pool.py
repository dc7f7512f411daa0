"""The block pool: all keys and values of an engine, in blocks of equal size, counted by reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch


class PoolFull(Exception):
    """Not enough free blocks. Internal: the scheduler makes room or lets the request wait."""


class BlockPool:
    """Owns the tensors, the free list, and one reference count per block.

    k_cache  [L, NB, H, D, B], v_cache [L, NB, H, B, D]: see ops/reference.py for the layout.

    A block is free (count 0, on the free list once) or held (count >= 1, not on it). Allocation takes
    all that was asked or nothing (F09). Releasing what nobody holds is a bug and raises (F01, F05).
    Never does: look at tokens, or decide who must give way.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        layers: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"a pool needs blocks: num_blocks={num_blocks}, block_size={block_size}")
        shape = (layers, num_blocks, kv_heads)
        self.block_size = block_size
        # NaN, not zeros: whoever reads a slot that nobody wrote is found out at once (F65).
        self.k_cache = torch.full((*shape, head_dim, block_size), math.nan, dtype=dtype, device=device)
        self.v_cache = torch.full((*shape, block_size, head_dim), math.nan, dtype=dtype, device=device)
        self.refs = np.zeros(num_blocks, dtype=np.int64)
        self._free = list(range(num_blocks - 1, -1, -1))

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def bytes_per_block(self) -> int:
        """Keys and values of one block in all layers."""
        return 2 * self.k_cache[:, 0].numel() * self.k_cache.element_size()

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def allocate(self, count: int) -> list[int]:
        """``count`` blocks, each with one reference that belongs to the caller. Raises PoolFull."""
        if count > len(self._free):
            raise PoolFull(f"{count} blocks wanted, {len(self._free)} of {len(self)} free")
        taken = [self._free.pop() for _ in range(count)]
        self.refs[taken] = 1
        return taken

    def retain(self, blocks: Sequence[int], times: int = 1) -> None:
        """``times`` more holders of each block; one that is named twice gets twice as many."""
        if not blocks:
            return
        if self.refs[blocks].min() < 1:
            raise RuntimeError(f"block retained that nobody holds, among {list(blocks)}")
        np.add.at(self.refs, blocks, times)

    def release(self, blocks: Sequence[int]) -> int:
        """One holder less of each block, two of one that is named twice; returns how many became free."""
        if not blocks:
            return 0
        np.subtract.at(self.refs, blocks, 1)
        if self.refs[blocks].min() < 0:
            np.add.at(self.refs, blocks, 1)
            raise RuntimeError(f"block released that nobody holds, among {list(blocks)}")
        freed = [block for block in dict.fromkeys(blocks) if not self.refs[block]]
        self._free.extend(reversed(freed))
        return len(freed)

    def check(self) -> None:
        """Free and held partition the pool; no block is on the free list twice (F01, F02, F03)."""
        free = set(self._free)
        if len(free) != len(self._free) or free != set(np.flatnonzero(self.refs == 0).tolist()):
            raise AssertionError(f"free list {sorted(self._free)} and counts {self.refs.tolist()} disagree")
