"""Linear layers for few rows: where a step spends most of its time. Each weight is read once, whatever the rows."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from miniapr.ops import Operations

from . import machine, models
from .timing import Memory, Rotating, Turn, floor, interleave

SHAPES = {"down": (768, 2048), "head": (32000, 768)}  # [out, in], as in M


def measure(dtype: str, ops: Operations, rows: list[int], rounds: int) -> dict[str, Any]:
    """``linear`` of the backend, and torch's on the same weights; more weights in turn than a cache holds."""
    kind, found = models.DTYPES[dtype], []
    for name, (out, width) in SHAPES.items():
        size = out * width * kind.itemsize
        count = max(2, machine.beyond_caches() // size)
        plain = [torch.randn(out, width).mul_(width**-0.5).to(kind) for _ in range(count)]
        packed = [models.pack_for(ops, weight) for weight in plain]
        memory = Memory(size, ops=ops, cold=True)
        turns: dict[str, Turn] = memory.turns()
        for number in rows:
            turns |= _turns(ops, torch.randn(number, width).to(kind), plain, packed)
        times = interleave(turns, rounds, burst=3)
        speed = memory.speed(times)
        for number in rows:
            row: dict[str, Any] = {"layer": name, "out": out, "in": width, "rows": number}
            row |= {**floor(size, speed["read"], cold=True), "flops": 2 * number * out * width}
            found.append(row | {who: times[f"{who} {number}"].json() for who in ("linear", "torch")})
    return {"dtype": dtype, "rows": found}


def peak(ops: Operations, rounds: int) -> dict[str, float]:
    """The fastest arithmetic seen here in float32, FLOP/s: a product of square matrices by torch, and ``linear`` for
    many rows with its weight in the cache. The roof of the roofline."""
    square, x, weight = torch.randn(1024, 1024), torch.randn(128, 768), models.pack_for(ops, torch.randn(2048, 768))
    turns: dict[str, Turn] = {
        "torch, 1,024 x 1,024 x 1,024": Rotating(lambda _: square @ square, 1),
        "linear, 128 x 768 x 2,048": Rotating(lambda _: ops.linear(x, [weight]), 1),
    }
    times = interleave(turns, rounds, burst=5)
    work = (2 * 1024**3, 2 * 128 * 768 * 2048)
    return {name: count / times[name].median for name, count in zip(turns, work, strict=True)}


def _turns(ops: Operations, x: Tensor, plain: list[Tensor], packed: list[Any]) -> dict[str, Turn]:
    def ours(i: int) -> Tensor:
        return ops.linear(x, [packed[i]])

    def torchs(i: int) -> Tensor:
        return F.linear(x, plain[i])

    wrong = (ours(0).float() - torchs(0).float()).abs().max().item()
    if not wrong < (1e-3 if x.dtype == torch.float32 else 0.1):
        raise ValueError(f"linear and torch differ by {wrong:.2g} on {list(x.shape)}")
    rows, count = x.shape[0], len(plain)
    return {f"linear {rows}": Rotating(ours, count), f"torch {rows}": Rotating(torchs, count)}
