"""Moving keys and values: copying blocks, turning keys, and both in one pass, beside the copy bandwidth."""

from __future__ import annotations

from typing import Any

import torch

from miniapr.ops import Operations

from . import machine, models
from .timing import Memory, Turn, interleave

LAYERS, KV_HEADS, HEAD_DIM, BLOCK = 12, 4, 64, 16  # as in M


class Region:
    """A pool, and moves of ``tokens`` tokens from one place in it to another; each move takes the next places, so
    that what is moved comes from memory and not from a cache."""

    def __init__(self, ops: Operations, tokens: int, dtype: torch.dtype) -> None:
        self.ops, self.count = ops, tokens // BLOCK
        self.bytes = 2 * LAYERS * tokens * KV_HEADS * HEAD_DIM * dtype.itemsize
        self.places = 2 * max(1, machine.beyond_caches() // self.bytes)  # stretches of ``count`` blocks: an even number
        blocks = self.places * self.count
        self.k = torch.randn(LAYERS, blocks, KV_HEADS, HEAD_DIM, BLOCK).to(dtype)
        self.v = torch.randn(LAYERS, blocks, KV_HEADS, BLOCK, HEAD_DIM).to(dtype)
        self.order = torch.randperm(blocks, generator=torch.Generator().manual_seed(0)).view(self.places, -1)
        angle = torch.rand(1, HEAD_DIM // 2)
        self.table, self.turn, self.at = (angle.cos(), angle.sin()), torch.zeros(self.count, dtype=torch.int64), 0

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Blocks to read and blocks to write."""
        self.at = (self.at + 2) % self.places
        return self.order[self.at], self.order[self.at + 1]

    def copy(self) -> None:
        self.ops.copy_blocks(self.k, self.v, *self.next())

    def copy_and_shift(self) -> None:
        self.ops.copy_and_shift(self.k, self.v, *self.next(), self.turn, *self.table, False)

    def copy_then_shift(self) -> None:
        source, target = self.next()
        self.ops.copy_blocks(self.k, self.v, source, target)
        self.ops.shift_keys(self.k, target, self.turn, *self.table, False)

    def torch(self) -> None:
        """The same copy by indexing in torch, which makes a temporary of it."""
        source, target = self.next()
        self.k[:, target], self.v[:, target] = self.k[:, source], self.v[:, source]

    def turns(self) -> dict[str, Turn]:
        return {
            "copy": self.copy,
            "copy_and_shift": self.copy_and_shift,
            "copy_then_shift": self.copy_then_shift,
            "torch_copy": self.torch,
        }


def measure(dtype: str, ops: Operations, lengths: list[int], rounds: int) -> dict[str, Any]:
    rows, memory = [], Memory()
    for tokens in lengths:
        region = Region(ops, tokens, models.DTYPES[dtype])
        times = interleave({**memory.turns(), **{f"move {n}": turn for n, turn in region.turns().items()}}, rounds)
        copy = memory.speed(times)["copy"]
        row: dict[str, Any] = {"tokens": tokens, "bytes": region.bytes, "copy_bandwidth": copy}
        for name in region.turns():  # every byte is read and written, so it counts twice, as in the bandwidth
            taken = times[f"move {name}"]
            row[name] = taken.json() | {"of_copy_bandwidth": 2 * region.bytes / taken.median / copy}
        rows.append(row)
    return {"dtype": dtype, "rows": rows}
