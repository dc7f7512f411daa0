"""What touches keys and values: one batched forward pass, and copies of moved pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from ..kv.cache import KVCache
from ..kv.span import Span
from ..model.decoder import Decoder
from ..ops import Operations
from .graphs import Graphs
from .scheduler import Job


class Runner:
    """The model, its pool and a backend. Never does: decide what is computed."""

    def __init__(self, model: Decoder, kv: KVCache, ops: Operations) -> None:
        self.model, self.kv, self.ops = model, kv, ops
        self.graphs = Graphs(model, kv.pool.k_cache, kv.pool.v_cache, ops)

    def forward(self, jobs: Sequence[Job]) -> None:
        """Compute all jobs; their tokens are the rows of one batch, N in all. A branch whose last token is
        among them gets its logits. The jobs' spans must have their blocks."""
        jobs = [job for job in jobs if job.span.written < job.stop]  # all, unless a batch failed half way
        device = self.model.device
        tokens = [t for job in jobs for t in job.span.tokens[job.start : job.stop]]
        positions = [p for job in jobs for p in range(job.span.position + job.start, job.span.position + job.stop)]
        slots = [s for job in jobs for s in self.kv.slots(job.span, job.start, job.stop)]
        last = [rows - 1 for rows in accumulate(job.stop - job.start for job in jobs)]
        finished = [i for i, job in enumerate(jobs) if job.branch and job.stop == len(job.span.tokens)]
        everything = len(finished) == len(tokens)
        batch = self.model.batch(
            torch.tensor(tokens, device=device),  # [N]
            torch.tensor(positions, device=device),  # [N]
            torch.tensor(slots, device=device),  # [N]
            self.kv.plan((job.view, job.span, job.start, job.stop) for job in jobs),
            None if everything else torch.tensor([last[i] for i in finished], dtype=torch.int64, device=device),  # [M]
        )
        logits = self.graphs.compute(batch)  # [M, V]
        for job in jobs:
            if job.span.turn and job.stop == len(job.span.tokens):  # a moved copy, computed again as a whole
                self._turn(job.span, job.span.turn)
                job.span.written = job.stop  # at once: if another job fails now, these are not turned again
        for job in jobs:
            # Only now do the tokens count as there: a prefix is not offered before it is computed (F12).
            job.span.written = job.stop
        for i, row in zip(finished, logits, strict=True):
            branch = jobs[i].branch
            assert branch is not None
            branch.logits = row

    def copy(self, source: Span, target: Span) -> None:
        """Copy the beginning of a span, as much as ``target`` has blocks for, and turn its keys.

        Turned once, by the whole amount, from the source's own rotation: every turn rounds (F50, F54).
        """
        pool, blocks = self.kv.pool, target.blocks
        pairs = torch.tensor(source.blocks[: len(blocks)]), torch.tensor(blocks)
        turns = self._turns(len(blocks), target.turn - source.turn)
        self.ops.copy_and_shift(pool.k_cache, pool.v_cache, pairs[0], pairs[1], *turns)
        target.written = target.peak = len(target.tokens)

    def _turn(self, span: Span, by: int) -> None:
        blocks = torch.tensor(span.blocks)  # [M]
        self.ops.shift_keys(self.kv.pool.k_cache, blocks, *self._turns(len(blocks), by))

    def _turns(self, blocks: int, by: int) -> tuple[Tensor, Tensor, Tensor, bool]:
        """Every block turned by the same amount: which row of the tables each takes, and the tables [1, D / 2]."""
        cos, sin = self.model.model.turns(torch.tensor([by], device=self.model.device), self.model.dtype)
        return torch.zeros(blocks, dtype=torch.int64), cos, sin, self.model.config.rope_interleaved
