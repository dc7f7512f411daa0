"""What branches and joins cost: a step over k branches, and each join at several widths and lengths.

    python -m benchmarks.branches --json benchmarks/results/branches.json

Random weights: time does not depend on what a model says. The peer is plain PyTorch: the same weights,
``scaled_dot_product_attention`` over one expanded copy of the keys and values for each branch. Runs are
interleaved and medians reported, because the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import miniapr
from miniapr.engine.joins import JOINS
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.model.tokenizer import Tokenizer
from miniapr.tasks.vocabulary import build_tokenizer

SIZES = {
    "S": ModelConfig(4096, 384, 1024, 6, 6, 2, 64, max_position_embeddings=16384),
    "M": ModelConfig(32000, 768, 2048, 12, 12, 4, 64, max_position_embeddings=16384),
}


def some_tokens(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(400), k=count)


class Peer:
    """Decoding k branches in plain PyTorch: every branch owns a copy of the prefix's keys and values."""

    def __init__(self, model: Decoder, prefix: int, branches: int, room: int = 256) -> None:
        config = model.config
        shape = (config.num_hidden_layers, branches, config.num_key_value_heads, prefix + room, config.head_dim)
        self.model, self.length = model, prefix
        self.k, self.v = torch.randn(shape), torch.randn(shape)
        self.tokens = torch.zeros(branches, 1, dtype=torch.int64)

    @torch.inference_mode()
    def step(self) -> None:
        at, group = self.length, self.model.config.num_attention_heads // self.model.config.num_key_value_heads

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self.k[layer], self.v[layer]  # [k, H, T, D]
            keys[:, :, at], values[:, :, at] = k[:, 0], v[:, 0]
            out = F.scaled_dot_product_attention(
                q.transpose(1, 2), keys[:, :, : at + 1], values[:, :, : at + 1], enable_gqa=group > 1
            )
            return out.transpose(1, 2)  # [k, 1, Hq, D]

        positions = torch.full_like(self.tokens, at)
        logits = self.model.lm_head(self.model.model(self.tokens, positions, attend))  # [k, 1, V]
        self.tokens = logits.argmax(-1)
        self.length += 1


def seconds(function: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


class Tree:
    """An engine with one prefix and k branches that are all decoding."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer, backend: str, prefix: int, branches: int) -> None:
        blocks = prefix // 16 + branches * 20 + 8
        self.engine = miniapr.Engine(
            model, tokenizer, num_blocks=blocks, backend=backend, max_batch_tokens=1024, record=False
        )
        self.branches: list[miniapr.Branch] = []
        self.engine.submit(self._program(prefix, branches))
        while not (self.branches and all(branch.generated for branch in self.branches)):
            self.engine.step()

    def _program(self, prefix: int, branches: int) -> Any:
        root = yield miniapr.Start(some_tokens(prefix, 0))
        self.branches += yield miniapr.Fork(root, [[i + 1] for i in range(branches)])
        yield miniapr.Decode(self.branches)

    def step(self) -> None:
        self.engine.step()


def steps(
    model: Decoder, tokenizer: Tokenizer, backend: str, prefixes: list[int], repeats: int
) -> list[dict[str, Any]]:
    """Milliseconds a step at 1, 2, 4, 8 branches, engine and peer in turn."""
    rows = []
    for prefix in prefixes:
        runs: dict[tuple[str, int], Any] = {}
        for branches in (1, 2, 4, 8):
            runs["engine", branches] = Tree(model, tokenizer, backend, prefix, branches)
            runs["torch", branches] = Peer(model, prefix, branches)
        times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
        for repeat in range(repeats + 3):
            for key, run in runs.items():
                took = seconds(run.step)
                if repeat >= 3:  # the first ones warm caches and threads
                    times[key].append(took)
        for branches in (1, 2, 4, 8):
            ms = {who: median(times[who, branches]) * 1e3 for who in ("engine", "torch")}
            over = {
                f"{who}_over_1": median(times[who, branches]) / median(times[who, 1]) for who in ("engine", "torch")
            }
            rows.append({"prefix": prefix, "branches": branches, **{f"{w}_ms": t for w, t in ms.items()}, **over})
    return rows


def joins(model: Decoder, tokenizer: Tokenizer, backend: str, repeats: int) -> list[dict[str, Any]]:
    """Each join of k branches of n tokens after a prefix of 128, from the call to the next token's logits."""
    rows = []
    for branches in (2, 4, 8):
        for length in (32, 128, 512):
            blocks = 2 * (8 + branches * (length // 16 + 2)) + branches * length // 16 + 64
            engine = miniapr.Engine(model, tokenizer, num_blocks=blocks, backend=backend, max_batch_tokens=8192)
            root = engine.start(some_tokens(128, 1))
            children = engine.fork(root, [some_tokens(length, seed) for seed in range(branches)])
            for child in children:
                engine.settle(child)
            times: dict[str, list[float]] = {how: [] for how in JOINS if how != "select"}
            costs: dict[str, dict[str, int]] = {}
            for repeat in range(repeats + 1):
                for how, taken in times.items():
                    begun = time.perf_counter()
                    joined = engine.settle(engine.join(root, children, how, then=[3], keep=True))
                    if repeat:
                        taken.append(time.perf_counter() - begun)
                    costs[how] = joined.join_cost or {}
                    engine.release(joined)
            decode = engine.join(root, children, "stitch", then=[3], keep=True)
            engine.decode([decode], max_tokens=1)
            step = median(seconds(partial(engine.decode, [decode], max_tokens=1)) for _ in range(repeats))
            for how, taken in times.items():
                ms = median(taken) * 1e3
                row = {
                    "branches": branches,
                    "tokens_each": length,
                    "join": how,
                    "ms": ms,
                    "over_a_step": ms / step / 1e3,
                }
                rows.append({**row, **costs[how]})
    return rows


def machine(model: Decoder, backend: str) -> dict[str, Any]:
    return {
        "cpu": next(
            (
                line.split(":", 1)[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            platform.processor(),
        )
        if Path("/proc/cpuinfo").exists()
        else platform.processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "backend": backend,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def table(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    lines = [names, *([f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--prefix", type=int, nargs="+", default=[128, 1024, 4096])
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Decoder(SIZES[args.size]).requires_grad_(False).eval()
    tokenizer = Tokenizer(build_tokenizer())
    backend = miniapr.Engine(model, tokenizer, num_blocks=1, backend=args.backend).ops.name
    result = {"date": time.strftime("%Y-%m-%d"), "size": args.size, "machine": machine(model, backend)}
    result["steps"] = steps(model, tokenizer, args.backend, args.prefix, args.repeats)
    print(table(result["steps"]), end="\n\n")
    result["joins"] = joins(model, tokenizer, args.backend, max(3, args.repeats // 3))
    print(table(result["joins"]))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
