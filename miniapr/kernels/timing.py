"""``kernels.time``: what each operation of a backend takes, beside the bandwidth measured in the same run.

A step moves bytes more than it computes, so the limit is memory. Every operation is timed in turn, again and
again, over a different layer each time, so that its data come from memory and not from a cache; medians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from ..ops import AttentionPlan, Norm, Operations, PlanBuilder, Weight, load
from ..ops.packed import pack
from .table import Table

LAYERS, HEADS, GROUP, HEAD_DIM, BLOCK, PREFIX = 12, 4, 3, 64, 16, 4096
WIDTH, HIDDEN, VOCABULARY = HEADS * GROUP * HEAD_DIM, 2048, 32_000


@dataclass(frozen=True)
class Timed:
    """One operation at one size."""

    operation: str
    size: str
    microseconds: float = field(metadata={"title": "us", "format": ".1f"})
    megabytes: float = field(metadata={"title": "MB", "format": ".2f"})  # that must be read and written, once
    gb_per_s: float = field(metadata={"title": "GB/s", "format": ".1f"})
    share: float = field(metadata={"title": "of the limit", "format": ".0%"})


@dataclass(frozen=True)
class _Variant:
    operation: str
    size: str
    bytes: int
    run: Callable[[int], object]  # the argument counts up: take another layer each time


def time(backend: Operations | str, repeats: int = 30, dtype: torch.dtype = torch.float32) -> Table[Timed]:
    """Time every operation of a backend, KV stored as ``dtype``; a few seconds. The limit of an operation is
    the best bandwidth measured beside it: of reading if it mostly reads, else of copying."""
    ops = load(backend) if isinstance(backend, str) else backend
    device = getattr(ops, "device", "cpu")
    limits, variants = _limits(device), _variants(ops, device, dtype)
    times: list[list[float]] = [[] for _ in [*limits, *variants]]
    for step in range(repeats + 3):
        for variant, taken in zip([*limits, *variants], times, strict=True):
            seconds = _seconds(variant.run, step, device)
            if step >= 3:  # the first ones warm caches and threads
                taken.append(seconds)
    read, copy = (limit.bytes / min(t) / 1e9 for limit, t in zip(limits, times, strict=False))
    rows = []
    for v, taken in zip(variants, times[len(limits) :], strict=True):
        speed = v.bytes / median(taken) / 1e9
        limit = read if v.operation in ("paged_attention", "linear", "swiglu") else copy
        rows.append(Timed(v.operation, v.size, median(taken) * 1e6, v.bytes / 1e6, speed, speed / limit))
    name = str(dtype).removeprefix("torch.")
    note = f"limits, measured: reading {read:.1f} GB/s, copying {copy:.1f} GB/s (read + written)"
    return Table(rows, f"{note}; {ops.name}, {name}, {torch.get_num_threads()} threads, medians of {repeats}")


def _seconds(run: Callable[[int], object], step: int, device: str) -> float:
    if device == "cpu":
        begun = perf_counter()
        run(step)
        return perf_counter() - begun
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run(step)
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def _limits(device: str) -> list[_Variant]:
    source = torch.ones(128 << 20, device=device)  # 512 MB: no cache holds it
    target, size = torch.empty_like(source), source.numel() * 4
    return [
        _Variant("read", "", size, lambda _: source.sum()),
        _Variant("copy", "", 2 * size, lambda _: target.copy_(source)),
    ]


def _variants(ops: Operations, device: str, dtype: torch.dtype) -> list[_Variant]:
    def numbers(*shape: int, of: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape).to(of).to(device)

    blocks = PREFIX // BLOCK
    k_cache = numbers(1, blocks, HEADS, HEAD_DIM, BLOCK).repeat(LAYERS, 1, 1, 1, 1)  # drawn once: that takes longest
    v_cache = numbers(1, blocks, HEADS, BLOCK, HEAD_DIM).repeat(LAYERS, 1, 1, 1, 1)
    angle = numbers(1, HEAD_DIM // 2, of=torch.float32)
    cos, sin = angle.cos(), angle.sin()
    order = torch.randperm(blocks)  # lists lie on the host
    source, target = order[:32], order[32:64]
    turn, token = torch.zeros_like(source), HEADS * HEAD_DIM * dtype.itemsize  # bytes of a token's keys
    variants = []

    def attend(prefix: int, rows: int) -> _Variant:
        q, plan = numbers(rows, HEADS * GROUP, HEAD_DIM, of=torch.float32), _shared(prefix, rows)

        def run(step: int) -> Tensor:
            layer = step % LAYERS
            return ops.paged_attention(q, k_cache[layer], v_cache[layer], plan, cos, sin, False)

        return _Variant("paged_attention", f"{rows} rows share {prefix} tokens", 2 * prefix * token, run)

    def write(rows: int) -> _Variant:
        k, v = numbers(rows, HEADS, HEAD_DIM), numbers(rows, HEADS, HEAD_DIM)
        slots = (order[:rows] * BLOCK).to(device)

        def run(step: int) -> None:
            ops.write_kv(k, v, k_cache[step % LAYERS], v_cache[step % LAYERS], slots)

        return _Variant("write_kv", f"{rows} rows", 4 * rows * token, run)

    variants += [write(8), attend(16, 1), *(attend(prefix, rows) for prefix in (1024, PREFIX) for rows in (1, 8))]
    tokens = LAYERS * len(source) * BLOCK
    moved = f"{len(source)} blocks, {LAYERS} layers"
    moves: dict[str, Callable[[int], object]] = {
        "copy_blocks": lambda _: ops.copy_blocks(k_cache, v_cache, source, target),
        "shift_keys": lambda _: ops.shift_keys(k_cache, source, turn, cos, sin, False),
        "copy_and_shift": lambda _: ops.copy_and_shift(k_cache, v_cache, source, target, turn, cos, sin, False),
    }
    for name, move in moves.items():
        variants.append(_Variant(name, moved, (2 if name == "shift_keys" else 4) * tokens * token, move))
    return [*variants, *_layer_variants(ops, device, dtype)]


def _layer_variants(ops: Operations, device: str, dtype: torch.dtype) -> list[_Variant]:
    def weights(columns: int, depth: int) -> list[Weight]:
        plain = torch.randn(columns, depth).to(dtype).to(device)
        return [pack(plain) if getattr(ops, "packs", True) else plain.clone() for _ in range(LAYERS)]

    down, gate, up = weights(WIDTH, HIDDEN), weights(HIDDEN, WIDTH), weights(HIDDEN, WIDTH)
    norm = Norm(torch.ones(WIDTH, dtype=dtype, device=device), 1e-6)
    size = WIDTH * HIDDEN * dtype.itemsize
    cos, sin = torch.ones(8, HEAD_DIM // 2, device=device), torch.zeros(8, HEAD_DIM // 2, device=device)
    heads = torch.randn(8, HEADS * (GROUP + 1), HEAD_DIM, device=device).to(dtype)

    def multiply(rows: int) -> list[_Variant]:
        wide, x = (torch.randn(rows, n, device=device).to(dtype) for n in (HIDDEN, WIDTH))

        def linear(step: int) -> Tensor:
            return ops.linear(wide, [down[step % LAYERS]])

        def swiglu(step: int) -> Tensor:
            return ops.swiglu(x, gate[step % LAYERS], up[step % LAYERS], norm)

        return [
            _Variant("linear", f"{rows} rows, {HIDDEN} to {WIDTH}", size, linear),
            _Variant("swiglu", f"{rows} rows, {WIDTH} to {HIDDEN}", 2 * size, swiglu),
        ]

    def rope(_: int) -> Tensor:
        return ops.rope(heads, cos, sin, False)

    logits = torch.randn(8, VOCABULARY, device=device).to(dtype)
    half, all_ = torch.full((8,), 0.5, dtype=torch.float64), torch.zeros(8, dtype=torch.int64)

    def sample(_: int) -> object:
        return ops.sample(logits, half, all_, half, half, half)

    moved = 2 * heads.numel() * dtype.itemsize
    return [
        *multiply(1),
        *multiply(8),
        _Variant("rope", f"8 rows of {heads.shape[1]} heads", moved, rope),
        _Variant("sample", f"8 rows of {VOCABULARY} logits", logits.numel() * dtype.itemsize, sample),
    ]


def _shared(prefix: int, rows: int) -> AttentionPlan:
    """Every row sees the whole prefix, its blocks in random order."""
    blocks, builder = torch.randperm(prefix // BLOCK).tolist(), PlanBuilder()
    for _ in range(rows):
        builder.see("prefix", blocks, 0, prefix, 0, 1, 0)
        builder.end_rows(1)
    return builder.build()
