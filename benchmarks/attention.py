"""Attention of branches that share a prefix, against the copy bandwidth and against SDPA on copies.

    python -m benchmarks.attention [--json] [--threads 2] [--repeats 30] [--dtype float32]

All variants are timed in turn, again and again, so that whatever else the machine does hits all of them;
the figures are medians. The floor is the time to read the distinct keys and values once at the bandwidth
measured in the same process. SDPA gets its copies for free: expanding the prefix is not timed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from miniapr.ops import AttentionPlan, Operations, PlanBuilder, available, load

Q_HEADS, KV_HEADS, HEAD_DIM, BLOCK = 12, 4, 64, 16


def interleave(variants: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Median, fastest and slowest of ``repeats`` rounds, in microseconds."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for step in range(repeats + 3):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if step >= 3:  # the first rounds warm up
                times[name].append((time.perf_counter() - start) * 1e6)
    return {name: {"median": statistics.median(t), "fastest": min(t), "slowest": max(t)} for name, t in times.items()}


def shared_plan(prefix: int, branches: int, shift: int = 0) -> AttentionPlan:
    """Every branch sees the prefix; nothing else."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randperm(prefix // BLOCK, generator=generator).tolist()
    builder = PlanBuilder()
    for _ in range(branches):
        builder.see("prefix", blocks, 0, prefix, shift, 1, 0)
        builder.end_rows(1)
    return builder.build()


def pool(prefix: int, layers: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Several layers, used in turn, so that the KV comes from memory and not from the cache."""
    blocks = prefix // BLOCK
    k = torch.randn(layers, blocks, KV_HEADS, HEAD_DIM, BLOCK).to(dtype)
    v = torch.randn(layers, blocks, KV_HEADS, BLOCK, HEAD_DIM).to(dtype)
    return k, v


class Turn:
    """Calls ``run(0), run(1), ... run(n - 1), run(0), ...``."""

    def __init__(self, run: Callable[[int], object], n: int) -> None:
        self.run, self.n, self.at = run, n, 0

    def __call__(self) -> object:
        self.at = (self.at + 1) % self.n
        return self.run(self.at)


def bandwidth(repeats: int) -> dict[str, float]:
    """GB/s of reading 256 MB, and of copying (bytes read plus bytes written)."""
    source, target = torch.randn(64 << 20), torch.empty(64 << 20)
    size = source.numel() * 4
    times = interleave({"read": source.sum, "copy": lambda: target.copy_(source)}, repeats)
    return {"read": size / times["read"]["fastest"] / 1e3, "copy": 2 * size / times["copy"]["fastest"] / 1e3}


def attention_variants(
    ops: Operations, prefix: int, branches: int, dtype: torch.dtype
) -> dict[str, Callable[[], object]]:
    """The kernel and SDPA on expanded copies, over the same numbers."""
    layers = max(2, (96 << 20) // (prefix * KV_HEADS * HEAD_DIM * 2 * dtype.itemsize))
    k, v = pool(prefix, layers, dtype)
    plan, q = shared_plan(prefix, branches), torch.randn(branches, Q_HEADS, HEAD_DIM)
    table = torch.ones(1, HEAD_DIM // 2)

    def paged(layer: int) -> Tensor:
        return ops.paged_attention(q, k[layer], v[layer], plan, table, table, False)

    def copies(layer: int) -> tuple[Tensor, Tensor]:
        where = plan.blocks[: prefix // BLOCK].long()
        keys = k[layer, where].permute(1, 0, 3, 2).reshape(1, KV_HEADS, prefix, HEAD_DIM)
        values = v[layer, where].permute(1, 0, 2, 3).reshape(1, KV_HEADS, prefix, HEAD_DIM)
        return keys.repeat(branches, 1, 1, 1), values.repeat(branches, 1, 1, 1)

    few = max(2, layers // branches)
    expanded = [copies(layer) for layer in range(few)]
    batch = q[:, :, None].to(dtype)  # [branches, Hq, 1, D]

    def sdpa(layer: int) -> Tensor:
        keys, values = expanded[layer]
        return scaled_dot_product_attention(batch, keys, values, enable_gqa=True)

    def sdpa_grouped(layer: int) -> Tensor:  # the query heads of a group as rows: often faster
        keys, values = expanded[layer]
        grouped = batch.reshape(branches, KV_HEADS, Q_HEADS // KV_HEADS, HEAD_DIM)
        return scaled_dot_product_attention(grouped, keys, values)

    wrong = (paged(0) - sdpa(0)[:, :, 0]).abs().max().item()
    if wrong > (1e-4 if dtype == torch.float32 else 3e-2):
        raise SystemExit(f"the kernel and SDPA differ by {wrong}")
    return {
        f"paged {branches}": Turn(paged, layers),
        f"sdpa {branches}": Turn(sdpa, few),
        f"sdpa grouped {branches}": Turn(sdpa_grouped, few),
    }


def measure(ops: Operations, prefix: int, dtype: torch.dtype, repeats: int, gb_per_s: float) -> dict[str, float]:
    variants = {**attention_variants(ops, prefix, 1, dtype), **attention_variants(ops, prefix, 8, dtype)}
    median = {name: t["median"] for name, t in interleave(variants, repeats).items()}
    floor = prefix * KV_HEADS * HEAD_DIM * 2 * dtype.itemsize / gb_per_s / 1e3
    best = {n: min(median[f"sdpa {n}"], median[f"sdpa grouped {n}"]) for n in (1, 8)}
    return {
        "prefix": prefix,
        "floor_us": floor,
        "one_us": median["paged 1"],
        "eight_us": median["paged 8"],
        "sdpa_one_us": best[1],
        "sdpa_eight_us": best[8],
        "one_over_floor": median["paged 1"] / floor,
        "eight_over_one": median["paged 8"] / median["paged 1"],
        "sdpa_over_paged_one": best[1] / median["paged 1"],
        "sdpa_over_paged_eight": best[8] / median["paged 8"],
    }


def moves(ops: Operations, repeats: int) -> dict[str, dict[str, float]]:
    """GB/s (read plus written) of copying blocks and of turning keys in place: 12 layers, 512 tokens."""
    layers, blocks = 12, 32
    k = torch.randn(layers, 4 * blocks, KV_HEADS, HEAD_DIM, BLOCK)
    v = torch.randn(layers, 4 * blocks, KV_HEADS, BLOCK, HEAD_DIM)
    order = torch.randperm(4 * blocks)
    source, target, turn = order[:blocks], order[blocks : 2 * blocks], torch.zeros(blocks, dtype=torch.int64)
    angle = torch.rand(1, HEAD_DIM // 2)
    cos, sin = angle.cos(), angle.sin()
    one = 2 * 4 * layers * blocks * KV_HEADS * HEAD_DIM * BLOCK
    times = interleave(
        {
            "copy_blocks": lambda: ops.copy_blocks(k, v, source, target),
            "shift_keys": lambda: ops.shift_keys(k, target, turn, cos, sin, False),
        },
        repeats,
    )
    size = {"copy_blocks": 2 * one, "shift_keys": one}
    return {n: {"us": t["median"], "gb_per_s": size[n] / t["median"] / 1e3} for n, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    ops, dtype = load(options.backend), getattr(torch, options.dtype)
    speed = bandwidth(max(5, options.repeats // 3))
    rows = [measure(ops, prefix, dtype, options.repeats, speed["read"]) for prefix in (1024, 4096)]
    report = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": options.threads,
        "dtype": options.dtype,
        "backend": ops.name,
        "built": available().get(ops.name, ""),
        "bandwidth_gb_per_s": speed,
        "attention": rows,
        "moves": moves(ops, options.repeats),
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{ops.name}, {options.dtype}, {options.threads} threads; {report['built']}")
    print(f"bandwidth: read {speed['read']:.1f} GB/s, copy {speed['copy']:.1f} GB/s")
    print("prefix  floor  1 branch  8 branches  SDPA 1  SDPA 8 (us)   1/floor  8/1  SDPA/paged at 1, at 8")
    for r in rows:
        print(
            f"{r['prefix']:6d} {r['floor_us']:6.0f} {r['one_us']:9.0f} {r['eight_us']:11.0f} {r['sdpa_one_us']:7.0f}"
            f" {r['sdpa_eight_us']:7.0f}      {r['one_over_floor']:10.2f} {r['eight_over_one']:4.2f}"
            f" {r['sdpa_over_paged_one']:10.2f} {r['sdpa_over_paged_eight']:8.2f}"
        )
    for name, m in report["moves"].items():
        print(f"{name}: {m['us']:.0f} us, {m['gb_per_s']:.1f} GB/s (read plus written)")


if __name__ == "__main__":
    main()
