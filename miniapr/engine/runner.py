"""What touches keys and values: one batched forward pass, and copies of moved pieces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..kv.cache import KVCache
from ..kv.span import Span
from ..model.decoder import Decoder
from ..ops import Operations
from .branch import Branch
from .graphs import Graphs
from .jobs import Job


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
        tokens: list[int] = []
        positions: list[int] = []
        finished: list[Branch] = []  # branches whose last token is computed
        wanted: list[int] = []  # the row of each of these
        for _, span, _, start, stop, branch in jobs:
            if stop == start + 1:
                tokens.append(span.tokens[start])
                positions.append(span.position + start)
            else:
                tokens.extend(span.tokens[start:stop])
                positions.extend(range(span.position + start, span.position + stop))
            if branch and stop == len(span.tokens) and branch.state == "alive":
                finished.append(branch)
                wanted.append(len(tokens) - 1)
        slots = self.kv.slots((job.span, job.start, job.stop) for job in jobs)
        batch = self.model.batch(
            torch.tensor(tokens, device=device),  # [N]
            torch.tensor(positions, device=device),  # [N]
            torch.tensor(slots, device=device),  # [N]
            self.kv.plan((job.view, job.span, job.start, job.stop) for job in jobs),
            None if len(wanted) == len(tokens) else torch.tensor(wanted, dtype=torch.int64, device=device),  # [M]
            self._voices(jobs) if self.model.config.voices else None,
        )
        logits = self.graphs.compute(batch)  # [M, V]
        for job in jobs:
            # Only now do the tokens count as there: a prefix is not offered before it is computed (F12).
            job.span.written = job.stop
        for number, branch in enumerate(finished):
            # One that decodes uses its row in the next step; any other may keep it for long, and no more than it.
            branch.row = (logits, number) if branch.goal else (logits[number : number + 1].clone(), 0)

    def _voices(self, jobs: Sequence[Job]) -> Tensor | None:
        """[N] int64, of each row; None if none of them has one."""
        if not any(job.span.voice for job in jobs):
            return None
        voices = [voice for job in jobs for voice in [job.span.voice] * (job.stop - job.start)]
        return torch.tensor(voices, device=self.model.device)

    def copy(self, source: Span, target: Span, by: int) -> None:
        """Copy the beginning of a span, as much as ``target`` has blocks for, and turn its keys by ``by`` positions.

        Turned once, by the whole amount, from what lies in the source: every turn rounds (F50, F54).
        """
        pool, blocks = self.kv.pool, target.blocks
        pairs = torch.tensor(source.blocks[: len(blocks)]), torch.tensor(blocks)
        cos, sin = self.model.model.turns(torch.tensor([by], device=self.model.device), self.model.dtype)  # [1, D / 2]
        turn = torch.zeros(len(blocks), dtype=torch.int64)  # every block by the same row of the tables
        self.ops.copy_and_shift(
            pool.k_cache, pool.v_cache, pairs[0], pairs[1], turn, cos, sin, self.model.config.rope_interleaved
        )
        target.written = target.peak = len(target.tokens)
