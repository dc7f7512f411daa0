"""What touches keys and values: one batched forward pass, and copies of moved pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from ..kv.cache import KVCache
from ..kv.span import Span
from ..model.decoder import Decoder
from ..model.rope import cos_sin
from ..ops import Operations
from .scheduler import Job


class Runner:
    """The model, its pool and a backend. Never does: decide what is computed."""

    def __init__(self, model: Decoder, kv: KVCache, ops: Operations) -> None:
        self.model, self.kv, self.ops = model, kv, ops

    def forward(self, jobs: Sequence[Job]) -> None:
        """Compute all jobs; their tokens are the rows of one batch, N in all. A branch whose last token is
        among them gets its logits. The jobs' spans must have their blocks."""
        device = self.model.device
        tokens = [t for job in jobs for t in job.span.tokens[job.start : job.stop]]
        positions = [p for job in jobs for p in range(job.span.position + job.start, job.span.position + job.stop)]
        slots = [s for job in jobs for s in self.kv.slots(job.span, job.start, job.stop)]
        last = [rows - 1 for rows in accumulate(job.stop - job.start for job in jobs)]
        finished = [i for i, job in enumerate(jobs) if job.branch and job.stop == len(job.span.tokens)]
        logits = self.model.paged(
            torch.tensor(tokens, device=device),  # [N]
            torch.tensor(positions, device=device),  # [N]
            torch.tensor(slots, device=device),  # [N]
            self.kv.plan(((job.view, job.span, job.start, job.stop) for job in jobs), device),
            self.kv.pool.k_cache,
            self.kv.pool.v_cache,
            self.ops,
            torch.tensor([last[i] for i in finished], dtype=torch.int64, device=device),  # [M]
        )
        for job in jobs:
            # Only now do the tokens count as there: a prefix is not offered before it is computed (F12).
            job.span.written = job.stop
        for i, row in zip(finished, logits, strict=True):
            branch = jobs[i].branch
            assert branch is not None
            branch.logits = row

    def copy(self, span: Span) -> None:
        """Blocks of the piece that ``span`` is a copy of, keys turned once by the whole shift: from their
        first rotation, because every turn rounds (F50, F54)."""
        assert span.copied_from is not None
        config, device = self.model.config, self.model.device
        source, target = self.kv.copy(span)
        shift = torch.tensor([span.copied_from.shift], device=device)
        cos, sin = cos_sin(shift, config.head_dim, config.rope_theta, self.model.dtype)  # [1, D / 2]
        self.ops.copy_blocks(self.kv.pool.k_cache, self.kv.pool.v_cache, source, target)
        turn = torch.zeros_like(target)
        self.ops.shift_keys(self.kv.pool.k_cache, target, turn, cos, sin, config.rope_interleaved)
        span.written = span.peak = len(span.tokens)
