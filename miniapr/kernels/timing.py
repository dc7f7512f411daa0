"""``kernels.time``: what each operation of a backend takes, beside the bandwidth measured in the same run.

A step moves bytes more than it computes, so the limit is memory. Every operation is timed in turn, again and
again, over a different layer each time, so that its data come from memory and not from a cache; medians.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from ..ops import AttentionPlan, Norm, Operations, PlanBuilder, Weight, load
from ..ops.packed import pack
from .table import Table, named

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


def time(
    backend: Operations | str, operations: Sequence[str] = (), *, repeats: int = 30, dtype: torch.dtype = torch.float32
) -> Table[Timed]:
    """Time the named operations of a backend, or all of them, KV stored as ``dtype``; a few seconds. The limit of an
    operation is the best bandwidth measured beside it: of reading if it mostly reads, else of copying.

    Raises ValueError for a name that does not exist.
    """
    ops = load(backend) if isinstance(backend, str) else backend
    case = _Case(ops, dtype)
    variants = [variant for name in named(operations, _OPERATIONS) for variant in _OPERATIONS[name](case)]
    limits = _limits(case.device)
    times: list[list[float]] = [[] for _ in [*limits, *variants]]
    for step in range(repeats + 3):
        for variant, taken in zip([*limits, *variants], times, strict=True):
            seconds = _seconds(variant.run, step, case.device)
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


class _Case:
    """What the operations are given. Drawing it takes longer than timing them: nothing is drawn that is not used."""

    def __init__(self, ops: Operations, dtype: torch.dtype) -> None:
        self.ops, self.dtype, self.device = ops, dtype, getattr(ops, "device", "cpu")
        self.token = HEADS * HEAD_DIM * dtype.itemsize  # bytes of a token's keys in a layer
        self.order = torch.randperm(PREFIX // BLOCK)  # lists lie on the host

    def numbers(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(*shape).to(dtype or self.dtype).to(self.device)

    @cached_property
    def pool(self) -> tuple[Tensor, Tensor]:
        """Keys and values of all layers, each layer's the same."""
        keys, values = (len(self.order), HEADS, HEAD_DIM, BLOCK), (len(self.order), HEADS, BLOCK, HEAD_DIM)
        return self.numbers(1, *keys).repeat(LAYERS, 1, 1, 1, 1), self.numbers(1, *values).repeat(LAYERS, 1, 1, 1, 1)

    @cached_property
    def turn(self) -> tuple[Tensor, Tensor]:
        angle = self.numbers(1, HEAD_DIM // 2, dtype=torch.float32)
        return angle.cos(), angle.sin()

    def weights(self, columns: int, depth: int) -> list[Weight]:
        """A matrix for each layer, as the backend keeps it."""
        plain = self.numbers(columns, depth)
        return [pack(plain) if getattr(self.ops, "packs", True) else plain.clone() for _ in range(LAYERS)]


Variants = Iterator[_Variant]  # an operation at each of its sizes


def _write_kv(case: _Case) -> Variants:
    (k_cache, v_cache), rows = case.pool, 8
    k, v = case.numbers(rows, HEADS, HEAD_DIM), case.numbers(rows, HEADS, HEAD_DIM)
    slots = (case.order[:rows] * BLOCK).to(case.device)

    def run(step: int) -> None:
        case.ops.write_kv(k, v, k_cache[step % LAYERS], v_cache[step % LAYERS], slots)

    yield _Variant("write_kv", f"{rows} rows", 4 * rows * case.token, run)


def _paged_attention(case: _Case) -> Variants:
    k_cache, v_cache = case.pool

    def attend(prefix: int, rows: int) -> Callable[[int], Tensor]:
        q, plan = case.numbers(rows, HEADS * GROUP, HEAD_DIM, dtype=torch.float32), _shared(prefix, rows)

        def run(step: int) -> Tensor:
            layer = step % LAYERS
            return case.ops.paged_attention(q, k_cache[layer], v_cache[layer], plan, *case.turn, False)

        return run

    for prefix, rows in ((16, 1), (1024, 1), (1024, 8), (PREFIX, 1), (PREFIX, 8)):
        size = f"{rows} rows share {prefix} tokens"
        yield _Variant("paged_attention", size, 2 * prefix * case.token, attend(prefix, rows))


def _moves(operation: str, case: _Case) -> Variants:
    ops, (k_cache, v_cache) = case.ops, case.pool
    source, target = case.order[:32], case.order[32:64]
    turn = torch.zeros_like(source)
    moves: dict[str, Callable[[int], object]] = {
        "copy_blocks": lambda _: ops.copy_blocks(k_cache, v_cache, source, target),
        "shift_keys": lambda _: ops.shift_keys(k_cache, source, turn, *case.turn, False),
        "copy_and_shift": lambda _: ops.copy_and_shift(k_cache, v_cache, source, target, turn, *case.turn, False),
    }
    moved = (2 if operation == "shift_keys" else 4) * LAYERS * len(source) * BLOCK * case.token
    yield _Variant(operation, f"{len(source)} blocks, {LAYERS} layers", moved, moves[operation])


def _linear(case: _Case) -> Variants:
    down = case.weights(WIDTH, HIDDEN)
    for rows in (1, 8):
        x = case.numbers(rows, HIDDEN)

        def run(step: int, x: Tensor = x) -> Tensor:
            return case.ops.linear(x, [down[step % LAYERS]])

        yield _Variant("linear", f"{rows} rows, {HIDDEN} to {WIDTH}", WIDTH * HIDDEN * case.dtype.itemsize, run)


def _swiglu(case: _Case) -> Variants:
    gate, up = case.weights(HIDDEN, WIDTH), case.weights(HIDDEN, WIDTH)
    norm = Norm(torch.ones(WIDTH, dtype=case.dtype, device=case.device), 1e-6)
    for rows in (1, 8):
        x = case.numbers(rows, WIDTH)

        def run(step: int, x: Tensor = x) -> Tensor:
            return case.ops.swiglu(x, gate[step % LAYERS], up[step % LAYERS], norm)

        yield _Variant("swiglu", f"{rows} rows, {WIDTH} to {HIDDEN}", 2 * WIDTH * HIDDEN * case.dtype.itemsize, run)


def _rope(case: _Case) -> Variants:
    cos, sin = (torch.full((8, HEAD_DIM // 2), value, device=case.device) for value in (1.0, 0.0))
    heads = case.numbers(8, HEADS * (GROUP + 1), HEAD_DIM)
    moved = 2 * heads.numel() * case.dtype.itemsize
    yield _Variant("rope", f"8 rows of {heads.shape[1]} heads", moved, lambda _: case.ops.rope(heads, cos, sin, False))


def _sample(case: _Case) -> Variants:
    logits = case.numbers(8, VOCABULARY)
    half, all_ = torch.full((8,), 0.5, dtype=torch.float64), torch.zeros(8, dtype=torch.int64)

    def run(_: int) -> object:
        return case.ops.sample(logits, half, all_, half, half, half)

    yield _Variant("sample", f"8 rows of {VOCABULARY} logits", logits.numel() * case.dtype.itemsize, run)


def _shared(prefix: int, rows: int) -> AttentionPlan:
    """Every row sees the whole prefix, its blocks in random order."""
    blocks, builder = torch.randperm(prefix // BLOCK).tolist(), PlanBuilder()
    for _ in range(rows):
        builder.see("prefix", blocks, 0, prefix, 0, 1, 0)
        builder.end_rows(1)
    return builder.build()


_OPERATIONS: dict[str, Callable[[_Case], Variants]] = {
    "write_kv": _write_kv,
    "paged_attention": _paged_attention,
    **{name: partial(_moves, name) for name in ("copy_blocks", "shift_keys", "copy_and_shift")},
    "linear": _linear,
    "swiglu": _swiglu,
    "rope": _rope,
    "sample": _sample,
}
