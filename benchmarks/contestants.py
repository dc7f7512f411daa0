"""This engine as it is timed, whole steps and the model's part of them.

Keys and values of the prefix are random numbers put in place, not computed: the time of a step does not depend on
them, and a prefix of 4,096 tokens need not be computed again for every case.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

import miniapr
from miniapr.engine.runner import Runner
from miniapr.model.decoder import Batch, Decoder
from miniapr.ops import Operations

from . import models


def some_tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(400), k=count)


class Stopwatch:
    """Stands before the model and the captured steps of an engine, and notes how long each forward pass took:
    from token ids to logits, the embedding and the angles of RoPE included, the attention plan not."""

    def __init__(self, runner: Runner) -> None:
        self.model, self.graphs = runner.model, runner.graphs
        self.seconds, self._batch = list[float](), 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def batch(self, *args: Any) -> Batch:
        begun = time.perf_counter()
        made = self.model.batch(*args)
        self._batch = time.perf_counter() - begun
        return made

    def compute(self, batch: Batch) -> Tensor:
        begun = time.perf_counter()
        logits = self.graphs.compute(batch)  # [M, V]
        self.seconds.append(self._batch + time.perf_counter() - begun)
        return logits


class Nothing(Stopwatch):
    """Computes nothing: for a prefix whose keys and values are random numbers anyway."""

    def compute(self, batch: Batch) -> Tensor:
        rows = len(batch.slots if batch.wanted is None else batch.wanted)
        return torch.zeros(rows, self.model.config.vocab_size, dtype=self.model.dtype, device=self.model.device)


@contextmanager
def through(engine: miniapr.Engine, watch: Stopwatch) -> Iterator[None]:
    """Inside, the engine's forward passes go through ``watch``."""
    runner = engine.runner
    runner.model, runner.graphs = watch, watch  # type: ignore[assignment]
    try:
        yield
    finally:
        runner.model, runner.graphs = watch.model, watch.graphs


def engine(model: Decoder, ops: Operations, blocks: int, **more: Any) -> miniapr.Engine:
    """An engine whose pool holds random numbers."""
    made = miniapr.Engine(model, models.tokenizer(), num_blocks=blocks, backend=ops, record=False, **more)
    made.pool.k_cache.normal_()
    made.pool.v_cache.normal_()
    return made


class Tree:
    """An engine with one prefix and ``branches`` branches that are all decoding."""

    def __init__(self, model: Decoder, ops: Operations, prefix: int, branches: int) -> None:
        self.engine = engine(model, ops, prefix // 16 + branches * 20 + 8, max_batch_tokens=1024)
        self.branches: list[miniapr.Branch] = []
        self.watch, self.overhead = Stopwatch(self.engine.runner), list[float]()
        self.engine.submit(self._program(prefix, branches))
        with through(self.engine, Nothing(self.engine.runner)):
            while not (self.branches and all(branch.generated for branch in self.branches)):
                self.engine.step()

    def _program(self, prefix: int, branches: int) -> Any:
        root = yield miniapr.Start(some_tokens(prefix))
        self.branches += yield miniapr.Fork(root, [[i + 1] for i in range(branches)])
        yield miniapr.Decode(self.branches)

    def step(self) -> None:
        """A whole step of the engine. ``watch.seconds`` gets the model's part of it, ``overhead`` the rest."""
        with through(self.engine, self.watch):
            begun = time.perf_counter()
            self.engine.advance()
            self.overhead.append(time.perf_counter() - begun - self.watch.seconds[-1])
