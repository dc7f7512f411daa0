"""Attention alone: branches on one shared prefix, beside the bandwidth and SDPA on one copy for each branch.

The floor is the time to read the distinct keys and values once. SDPA gets its copies for free: making them is not
timed. Several layers are used in turn, so that keys and values come from memory and not from a cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from miniapr.ops import AttentionPlan, Operations, PlanBuilder

from . import machine, models
from .timing import Memory, Rotating, Turn, floor, interleave

Q_HEADS, KV_HEADS, HEAD_DIM, BLOCK = 12, 4, 64, 16  # as in M


def shared_plan(prefix: int, branches: int) -> AttentionPlan:
    """Every branch sees the prefix, whose blocks lie anywhere in the pool; nothing else."""
    blocks = torch.randperm(prefix // BLOCK, generator=torch.Generator().manual_seed(0)).tolist()
    builder = PlanBuilder()
    for _ in range(branches):
        builder.see("prefix", blocks, 0, prefix, 0, 1, 0)
        builder.end_rows(1)
    return builder.build()


def kv_bytes(prefix: int, itemsize: int) -> int:
    return 2 * prefix * KV_HEADS * HEAD_DIM * itemsize


def flops(prefix: int, branches: int) -> int:
    """Two multiply-adds (scores, values) for each query head, branch, token and dimension."""
    return 4 * branches * Q_HEADS * HEAD_DIM * prefix


class Case:
    """One prefix in a pool of many layers."""

    def __init__(self, ops: Operations, prefix: int, dtype: torch.dtype) -> None:
        self.ops, self.prefix, self.dtype = ops, prefix, dtype
        self.layers = max(2, machine.beyond_caches() // kv_bytes(prefix, dtype.itemsize))
        blocks = prefix // BLOCK
        self.k = torch.randn(self.layers, blocks, KV_HEADS, HEAD_DIM, BLOCK).to(dtype)
        self.v = torch.randn(self.layers, blocks, KV_HEADS, BLOCK, HEAD_DIM).to(dtype)

    def paged(self, branches: int, layers: int | None = None) -> Rotating:
        plan, q = shared_plan(self.prefix, branches), torch.randn(branches, Q_HEADS, HEAD_DIM)
        table = torch.ones(1, HEAD_DIM // 2)

        def run(layer: int) -> Tensor:
            return self.ops.paged_attention(q, self.k[layer], self.v[layer], plan, table, table, False)

        return Rotating(run, layers or self.layers)

    def copies(self, layer: int, branches: int) -> tuple[Tensor, Tensor]:
        """Keys and values [branches, H, prefix, D] in order, one copy for each branch."""
        where = shared_plan(self.prefix, 1).blocks.long()
        keys = self.k[layer, where].permute(1, 0, 3, 2).reshape(1, KV_HEADS, self.prefix, HEAD_DIM)
        values = self.v[layer, where].permute(1, 0, 2, 3).reshape(1, KV_HEADS, self.prefix, HEAD_DIM)
        return keys.repeat(branches, 1, 1, 1), values.repeat(branches, 1, 1, 1)

    def sdpa(self, branches: int) -> dict[str, Turn]:
        """The variants of SDPA; the best one counts."""
        few = max(2, self.layers // branches)
        expanded = [self.copies(layer, branches) for layer in range(few)]
        q = torch.randn(branches, Q_HEADS, 1, HEAD_DIM).to(self.dtype)
        group = Q_HEADS // KV_HEADS

        def plain(layer: int) -> Tensor:
            return scaled_dot_product_attention(q, *expanded[layer], enable_gqa=True)

        def grouped(layer: int) -> Tensor:  # the query heads of a group as rows
            return scaled_dot_product_attention(q.view(branches, KV_HEADS, group, HEAD_DIM), *expanded[layer])

        return {f"sdpa {branches}": Rotating(plain, few), f"sdpa grouped {branches}": Rotating(grouped, few)}

    def check(self) -> None:
        """Raises ValueError if the kernel and SDPA differ by more than rounding."""
        q = torch.randn(2, Q_HEADS, HEAD_DIM)
        table, plan = torch.ones(1, HEAD_DIM // 2), shared_plan(self.prefix, 2)
        ours = self.ops.paged_attention(q, self.k[0], self.v[0], plan, table, table, False)
        keys, values = (x.float() for x in self.copies(0, 2))
        theirs = scaled_dot_product_attention(q[:, :, None], keys, values, enable_gqa=True)[:, :, 0]
        if not (wrong := (ours - theirs).abs().max().item()) < 3e-2:
            raise ValueError(f"the kernel and SDPA differ by {wrong:.2g}")


def measure(dtype: str, ops: Operations, prefixes: list[int], widths: list[int], rounds: int) -> dict[str, Any]:
    rows, kind = [], models.DTYPES[dtype]
    for prefix in prefixes:
        case = Case(ops, prefix, kind)
        case.check()
        size = kv_bytes(prefix, kind.itemsize)
        memory = Memory(size, ops=ops, cold=True)
        turns = memory.turns()
        for width in widths:
            turns |= {f"paged {width}": case.paged(width), **case.sdpa(width)}
        times = interleave(turns, rounds, burst=3)
        speed = memory.speed(times)
        for width in widths:
            best = min((times[name] for name in (f"sdpa {width}", f"sdpa grouped {width}")), key=lambda t: t.median)
            row: dict[str, Any] = {"prefix": prefix, "branches": width, **floor(size, speed["read"], cold=True)}
            row["flops"] = flops(prefix, width)
            rows.append(row | {"paged": times[f"paged {width}"].json(), "sdpa": best.json()})
    return {"dtype": dtype, "rows": rows}
