"""Random rows over random runs of a pool whose unused slots are NaN, and what attention must give for them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from miniapr.ops import AttentionPlan, Operations, PlanBuilder

NOWHERE = 2**31 - 1  # a block id that must never be looked up


@dataclass(frozen=True)
class Shape:
    """Sizes of a case. ``runs`` are shared: each row sees some of them."""

    dtype: torch.dtype = torch.float64
    head_dim: int = 8
    block_size: int = 3
    kv_heads: int = 2
    group: int = 2
    interleaved: bool = False
    rows: int = 4
    longest: int = 20
    shifts: tuple[int, ...] = (0,)
    seed: int = 0


@dataclass
class Run:
    first: int
    blocks: list[int]
    keys: Tensor  # [n, H, D] float64
    values: Tensor


@dataclass
class Case:
    """The arguments of one call, and per row what it sees: (run, tokens, shift)."""

    shape: Shape
    q: Tensor
    k_cache: Tensor
    v_cache: Tensor
    plan: AttentionPlan
    cos: Tensor
    sin: Tensor
    frequency: Tensor
    seen: list[list[tuple[Run, int, int]]] = field(default_factory=list)

    def run(self, ops: Operations) -> Tensor:
        interleaved = self.shape.interleaved
        return ops.paged_attention(self.q, self.k_cache, self.v_cache, self.plan, self.cos, self.sin, interleaved)

    def expected(self) -> Tensor:
        """Dense attention in float64, key by key; keys are turned as complex numbers."""
        shape = self.shape
        out = torch.zeros(self.q.shape, dtype=torch.float64)
        for row, pieces in enumerate(self.seen):
            if not pieces:
                continue
            keys = torch.cat([self.turned(run.keys[:n], shift) for run, n, shift in pieces])  # [n, H, D]
            values = torch.cat([run.values[:n] for run, n, _ in pieces])
            query = self.q[row].double().unflatten(0, (shape.kv_heads, shape.group))  # [H, G, D]
            score = torch.einsum("hgd,nhd->hgn", query, keys) / math.sqrt(shape.head_dim)
            out[row] = torch.einsum("hgn,nhd->hgd", score.softmax(-1), values).flatten(0, 1)
        return out

    def turned(self, keys: Tensor, shift: int) -> Tensor:
        return turn(keys, shift * self.frequency, self.shape.interleaved)


def turn(x: Tensor, angle: Tensor, interleaved: bool) -> Tensor:
    """[..., D] by [D / 2]: multiplication by e^(i angle)."""
    half = x.shape[-1] // 2
    pairs = x.unflatten(-1, (half, 2)) if interleaved else torch.stack((x[..., :half], x[..., half:]), -1)
    turned = torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).flatten(-2) if interleaved else torch.cat((turned.real, turned.imag), -1)


class Filler:
    """Hands out blocks in random order and writes random tokens into them; everything else stays NaN."""

    def __init__(self, shape: Shape, blocks: int) -> None:
        heads, depth, size = shape.kv_heads, shape.head_dim, shape.block_size
        self.shape, self.random = shape, random.Random(shape.seed)
        self.generator = torch.Generator().manual_seed(shape.seed)
        self.k = torch.full((blocks, heads, depth, size), math.nan, dtype=shape.dtype)
        self.v = torch.full((blocks, heads, size, depth), math.nan, dtype=shape.dtype)
        self.free = self.random.sample(range(blocks), blocks)

    def numbers(self, *sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=self.generator, dtype=torch.float64)

    def run(self, length: int) -> Run:
        shape, size = self.shape, self.shape.block_size
        first = self.random.randrange(size)
        blocks = [self.free.pop() for _ in range(-(-(first + length) // size))]
        keys, values = (self.numbers(length, shape.kv_heads, shape.head_dim).to(shape.dtype) for _ in "kv")
        for t in range(length):
            block, offset = blocks[(first + t) // size], (first + t) % size
            self.k[block, :, :, offset], self.v[block, :, offset] = keys[t], values[t]
        listed = [*blocks, NOWHERE, NOWHERE] if self.random.random() < 0.5 else blocks
        return Run(first, listed, keys.double(), values.double())


def make_case(shape: Shape) -> Case:
    """Rows that share a prefix, a causal stretch, runs of their own, a run twice, and rows that see nothing."""
    pick = random.Random(shape.seed + 1)
    per_run = -(-(shape.longest + shape.block_size) // shape.block_size)
    filler = Filler(shape, (shape.rows + 3) * per_run + 2)
    shared = [filler.run(pick.randint(1, shape.longest)) for _ in range(2)]
    builder, seen = PlanBuilder(), []

    def see(name: str, run: Run, visible: int) -> None:
        shift = pick.choice(shape.shifts)
        builder.see(name, run.blocks, run.first, visible, shift, 1, 0)
        seen[-1].append((run, visible, shift))

    for row in range(shape.rows):
        seen.append([])
        if pick.random() < 0.8:
            see("shared 0", shared[0], len(shared[0].keys))
        if pick.random() < 0.4:
            see("shared 1", shared[1], pick.randint(1, len(shared[1].keys)))
        if pick.random() < 0.3:
            see("shared 1", shared[1], pick.randint(1, len(shared[1].keys)))
        if pick.random() < 0.6:
            own = filler.run(pick.randint(1, shape.longest))
            see(f"row {row}", own, pick.randint(1, len(own.keys)))
        builder.end_rows(1)
    return finish_case(shape, filler, builder, seen)


def causal_case(shape: Shape, prefix: int, chunk: int) -> Case:
    """A chunk of a prompt after a prefix, in one run: row i sees prefix + i + 1 tokens."""
    filler, builder, shift = Filler(shape, prefix + chunk + 4), PlanBuilder(), shape.shifts[-1]
    run = filler.run(prefix + chunk)
    builder.see("prompt", run.blocks, run.first, prefix + 1, shift, chunk, 1)
    builder.end_rows(chunk)
    return finish_case(shape, filler, builder, [[(run, prefix + i + 1, shift)] for i in range(chunk)])


def finish_case(shape: Shape, filler: Filler, builder: PlanBuilder, seen: list[list[tuple[Run, int, int]]]) -> Case:
    plan, work = builder.build(), torch.float64 if shape.dtype == torch.float64 else torch.float32
    frequency = torch.from_numpy(1.0 / 30.0 ** np.linspace(0, 1, shape.head_dim // 2))
    angle = -plan.shifts.double()[:, None] * frequency
    q = filler.numbers(len(seen), shape.kv_heads * shape.group, shape.head_dim).to(work)
    return Case(shape, q, filler.k, filler.v, plan, angle.cos().to(work), angle.sin().to(work), frequency, seen)
