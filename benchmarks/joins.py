"""A fork, and each join at several widths and lengths: the operation itself, and the way to the next logits."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch

import miniapr
from miniapr.model.decoder import Decoder
from miniapr.ops import Operations

from . import contestants, models
from .contestants import Nothing, some_tokens, through
from .timing import Times, Turn, interleave

HOW = ("stitch", "stitch_contiguous", "stitch_copied", "reprefill")
PREFIX = 128


class Threads:
    """A root with ``width`` branches of ``length`` tokens that are done, to be joined again and again."""

    def __init__(self, model: Decoder, ops: Operations, width: int, length: int) -> None:
        blocks = 2 * (width * (length // 16 + 2) + PREFIX // 16) + width * length // 16 + 64
        self.engine = contestants.engine(model, ops, blocks, max_batch_tokens=8192, reuse_prefixes=False)
        with through(self.engine, Nothing(self.engine.runner)):
            self.root = self.engine.start(some_tokens(PREFIX))
            self.branches = self.engine.fork(self.root, [some_tokens(length, seed) for seed in range(width)])
            for branch in self.branches:
                self.engine.settle(branch)
        self.seconds: dict[str, list[float]] = {how: [] for how in HOW}
        self.costs: dict[str, dict[str, int]] = {}
        self.decoding = self.engine.join(self.root, self.branches, "stitch", then=[3], keep=True)

    def join(self, how: str) -> None:
        """From the call to the logits of the next token; ``seconds`` gets the join alone."""
        begun = time.perf_counter()
        joined = self.engine.join(self.root, self.branches, how, then=[3], keep=True)
        self.seconds[how].append(time.perf_counter() - begun)
        self.engine.settle(joined)
        self.costs[how] = dict(joined.join_cost or {})
        self.engine.release(joined)

    def step(self) -> None:
        """One decoded token after a stitch: what a join is compared with."""
        self.engine.decode([self.decoding], max_tokens=1)


def measure(
    size: str, dtype: str, ops: Operations, widths: list[int], lengths: list[int], rounds: int, most: int = 4096
) -> dict[str, Any]:
    """``most``: re-prefills of more tokens than this are left out: they take minutes and are a known line."""
    model = models.build(size, models.DTYPES[dtype])
    models.lay_out(model, ops)
    rows = []
    for width in widths:
        for length in lengths:
            case = Threads(model, ops, width, length)
            kinds = [how for how in HOW if how != "reprefill" or (width - 1) * length <= most]
            quick = {how: partial(case.join, how) for how in kinds if how != "reprefill"}
            times = interleave({**quick, "step": case.step}, rounds, burst=3)
            if "reprefill" in kinds:  # seconds each: fewer rounds of its own
                times |= interleave({"reprefill": partial(case.join, "reprefill")}, min(rounds, 3), warmup=1)
            for how in kinds:
                alone = case.seconds[how][-times[how].n * (1 if how == "reprefill" else 3) :]
                row = {"branches": width, "tokens": length, "how": how, "join": Times.of(alone).json()}
                row |= {"to_logits": times[how].json(), "step": times["step"].json()}
                rows.append(row | case.costs[how])
    return {"size": size, "dtype": dtype, "prefix": PREFIX, "rows": rows}


def fork(size: str, dtype: str, ops: Operations, prefixes: list[int], width: int, rounds: int) -> dict[str, Any]:
    """Forking into ``width`` branches, beside a step of them, and beside copying the prefix for each of them."""
    model = models.build(size, models.DTYPES[dtype])
    models.lay_out(model, ops)
    rows = [_fork(model, ops, prefix, width, rounds) for prefix in prefixes]
    return {"size": size, "dtype": dtype, "rows": rows}


def _fork(model: Decoder, ops: Operations, prefix: int, width: int, rounds: int) -> dict[str, Any]:
    engine = contestants.engine(model, ops, prefix // 16 + 8, reuse_prefixes=False)
    with through(engine, Nothing(engine.runner)):
        root, children = engine.settle(engine.start(some_tokens(prefix))), list[miniapr.Branch]()
    free = engine.pool.free

    def once() -> float:
        for child in children:
            engine.release(child)
        begun = time.perf_counter()
        children[:] = engine.fork(root, width)
        return time.perf_counter() - begun

    one = torch.randn(models.kv_elements(model.config, prefix), dtype=model.dtype)
    copies = torch.empty(width, len(one), dtype=model.dtype)
    tree = contestants.Tree(model, ops, prefix, width)
    turns: dict[str, Turn] = {"fork": once, "copies": lambda: (copies.copy_(one), None)[1], "step": tree.step}
    times = interleave(turns, rounds)
    row: dict[str, Any] = {"prefix": prefix, "branches": width, **{name: t.json() for name, t in times.items()}}
    moved = (free - engine.pool.free) * engine.pool.bytes_per_block
    return row | {"bytes_moved": moved, "bytes_of_copies": copies.nbytes}
