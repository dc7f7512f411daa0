"""The same questions on a CUDA device: python -m benchmarks --only gpu --json benchmarks/results/gpu.json

Every ceiling is measured in the same rounds, by events on the device. ``measure("cpu", Sizes.small(), "reference")``
runs the same lines slowly on a CPU: that tests the script where there is no GPU, and measures nothing.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from miniapr.ops import AttentionPlan, Operations, PlanBuilder, load

from . import models
from .contestants import Tree
from .rivals import Transformers
from .timing import Clock, Memory, Turn, interleave, wall


@dataclass(frozen=True)
class Sizes:
    """Heads as in a model of 8 B parameters; ``context`` tokens in each of ``contexts``, or ``prefix`` in one."""

    q_heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    block: int = 16
    contexts: int = 32
    context: int = 8192
    prefix: int = 32768
    layers: int = 4  # of the pool, used in turn; and what is moved at once
    moved: int = 4096
    memory: int = 4 << 30
    model: str = "M"
    rounds: int = 21
    peers: bool = True  # those too that are compiled first, which takes a minute

    @classmethod
    def small(cls) -> Sizes:
        return cls(4, 2, 16, 16, 4, 64, 128, 2, 64, 1 << 20, "S", 1)


def events(run: Callable[[], object], times: int = 20) -> Turn:
    """``run`` with a clock on the device around it. It is started ``times`` times in a row, so that the device has
    always something to do next and the time of starting a kernel does not count."""

    def turn() -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(times):
            run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / times

    return turn


def captured(run: Callable[[], object], times: int = 20) -> Turn:
    """As ``events``, the ``times`` calls replayed as one graph: what Python and torch take to start a kernel, often
    longer than it runs, is left out. ``run`` must find its operands in the same places each time."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # what is done the first time only (compiling, workspaces) must not be in the graph
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        for _ in range(times):
            run()
    once = events(graph.replay, 1)
    return lambda: once() / times


def measure(device: str = "cuda", sizes: Sizes | None = None, backend: str = "cuda") -> dict[str, Any]:
    """Figures by name, and what the targets ask for. A GPU is often had for minutes only: each part is printed when it
    is done, the quickest first, and one that fails (a peer that does not compile there) leaves the others alone."""
    sizes, clock, ops = sizes or Sizes(), wall if device == "cpu" else events, load(backend)
    figures, targets, failed = dict[str, float](), dict[str, float](), list[str]()
    with torch.inference_mode():
        for part in (_moves, _attention, _step):
            before = {**figures, **targets}
            try:
                part(ops, device, sizes, clock, figures, targets)
            except Exception:
                failed.append(part.__name__.strip("_"))
                traceback.print_exc()
            found = {what: f"{value:.4g}" for what, value in {**figures, **targets}.items() if what not in before}
            print(f"{part.__name__.strip('_')}: {found}", flush=True)
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU: a trial of the script"
    return {"device": name, "figures": figures, "targets": targets, "failed": failed}


def _plan(sizes: Sizes, stretches: list[range], rows: list[int]) -> AttentionPlan:
    """Row i sees the stretch of blocks with number rows[i]."""
    builder = PlanBuilder()
    for number in rows:
        blocks = list(stretches[number])
        builder.see(number, blocks, 0, len(blocks) * sizes.block, 0, 1, 0)
        builder.end_rows(1)
    return builder.build()


def _attention(ops: Operations, device: str, s: Sizes, clock: Clock, figures: dict[str, float], targets: Any) -> None:
    kind = torch.bfloat16
    blocks = s.contexts * s.context // s.block
    k = torch.randn(s.layers, blocks, s.kv_heads, s.head_dim, s.block, dtype=kind, device=device)
    v = torch.randn(s.layers, blocks, s.kv_heads, s.block, s.head_dim, dtype=kind, device=device)
    table, each = torch.ones(1, s.head_dim // 2, device=device), s.context // s.block
    contexts = [range(i * each, (i + 1) * each) for i in range(s.contexts)]
    shared = [range(s.prefix // s.block)]
    plans = {
        "contexts": _plan(s, contexts, list(range(s.contexts))),
        "one": _plan(s, shared, [0]),
        "eight": _plan(s, shared, [0] * 8),
    }
    memory, at, brief = Memory(s.memory, device), 0, captured if device == "cuda" else clock

    def paged(plan: AttentionPlan) -> Turn:
        q = torch.randn(plan.rows, s.q_heads, s.head_dim, dtype=kind, device=device)

        def run() -> Tensor:
            nonlocal at
            at = (at + 1) % s.layers
            return ops.paged_attention(q, k[at], v[at], plan, table, table, False)

        return brief(run)

    turns = {name: clock(run) for name, run in memory.turns().items()}
    turns |= {name: paged(plan) for name, plan in plans.items()}
    for rows, name in ((1, "one"), (8, "eight")):
        keys, values = (torch.randn(rows, s.kv_heads, s.prefix, s.head_dim, dtype=kind, device=device) for _ in "kv")
        q = torch.randn(rows, s.q_heads, 1, s.head_dim, dtype=kind, device=device)
        grouped = q.view(rows, s.kv_heads, -1, s.head_dim)  # the query heads of a group as rows
        turns[f"sdpa {name}"] = brief(partial(scaled_dot_product_attention, q, keys, values, enable_gqa=True))
        turns[f"sdpa grouped {name}"] = brief(partial(scaled_dot_product_attention, grouped, keys, values))
        if device == "cuda" and s.peers:
            turns[f"flex {name}"] = brief(partial(torch.compile(flex_attention), q, keys, values, enable_gqa=True))
    times = interleave(turns, s.rounds, warmup=3)
    speed, token = memory.speed(times), 2 * s.kv_heads * s.head_dim * kind.itemsize
    figures |= {f"{what} bandwidth, GB/s": value / 1e9 for what, value in speed.items()}
    figures |= {f"attention {name}, us": 1e6 * times[name].median for name in turns if name[:4] not in ("read", "copy")}
    targets["contexts"] = 100 * s.contexts * s.context * token / times["contexts"].median / speed["copy"]
    targets["eight_over_one"] = times["eight"].median / times["one"].median
    for name in ("one", "eight"):
        best = min(times[f"sdpa {name}"].median, times[f"sdpa grouped {name}"].median)
        targets[f"sdpa_{name}"] = best / times[name].median


def _moves(ops: Operations, device: str, s: Sizes, clock: Clock, figures: dict[str, float], targets: Any) -> None:
    count = s.moved // s.block
    shape, kind = (32, 4 * count, s.kv_heads), torch.bfloat16
    k = torch.randn(*shape, s.head_dim, s.block, dtype=kind, device=device)
    v = torch.randn(*shape, s.block, s.head_dim, dtype=kind, device=device)
    order = torch.randperm(4 * count)  # where to and from stays on the host
    source, target, turn = order[:count], order[count : 2 * count], torch.zeros(count, dtype=torch.int64)
    angle, memory = torch.rand(1, s.head_dim // 2, device=device), Memory(s.memory, device)

    def move() -> None:
        ops.copy_and_shift(k, v, source, target, turn, angle.cos(), angle.sin(), False)

    turns = {name: clock(run) for name, run in {**memory.turns(), "move": move}.items()}
    times = interleave(turns, s.rounds, warmup=3)
    speed = 2 * (k[:, source].nbytes + v[:, source].nbytes) / times["move"].median
    figures["copy and shift, GB/s"] = speed / 1e9
    targets["copy_and_shift"] = 100 * speed / memory.speed(times)["copy"]


def _step(ops: Operations, device: str, s: Sizes, clock: Clock, figures: dict[str, float], targets: Any) -> None:
    """The forward pass of M with 1 and 8 branches on 1,024 tokens: the captured graph alone, and the whole engine's
    step; beside it transformers as a graph on a static cache."""
    config, kind, prefix = models.SIZES[s.model], torch.bfloat16, 1024 if device == "cuda" else 64
    model, memory = models.build(s.model, kind).to(device), Memory(s.memory, device)
    turns = {name: clock(run) for name, run in memory.turns().items()}
    trees = {width: Tree(model, ops, prefix, width) for width in (1, 8)}
    for width, tree in trees.items():
        tree.step()  # the first step of this many rows is captured
        turns[f"whole engine {width}"] = _synchronous(tree.step, device)
        if graphs := list(tree.engine.runner.graphs._graphs.values()):
            turns[f"graph {width}"] = clock(graphs[-1].replay)
    if device == "cuda" and s.peers:
        hugging = Transformers(models.weights(model), config)
        hugging.model.forward = torch.compile(hugging.model.forward, mode="reduce-overhead", fullgraph=True)
        for width in (1, 8):
            turns[f"transformers {width}"] = _synchronous(hugging.decoding(prefix, width, "static"), device)
    times = interleave(turns, s.rounds, warmup=5)
    read = memory.speed(times)["read"]
    figures |= {f"{name}, us": 1e6 * times[name].median for name in turns if name[:4] not in ("read", "copy")}
    for width in trees:
        floor = models.floor_bytes(config, kind.itemsize, prefix, width) / read
        figures[f"floor {width}, us"] = 1e6 * floor
        if width == 1 and "graph 1" in times:
            targets["step_over_floor"] = times["graph 1"].median / floor


def _synchronous(run: Callable[[], object], device: str) -> Turn:
    """With a clock on the wall, until the device is done."""

    def finished() -> None:
        run()
        if device == "cuda":
            torch.cuda.synchronize()

    return wall(finished)
