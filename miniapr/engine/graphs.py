"""Decode steps that are captured once and replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..model.decoder import Batch, Decoder
from ..ops import Operations
from ..ops.capture import CaptureError, Captures

LONGEST = 64  # rows: with more, what Python costs is little beside the step


@dataclass
class Graph:
    """A captured step: what it reads, and the call that replays it."""

    batch: Batch
    replay: Callable[[], Tensor]


class Graphs:
    """One captured step for each number of rows (and of shifts, and of threads, with voices and without); the least
    recently used go.

    A replay reads its inputs where the capture read them, so each step's batch is copied there first. Same
    kernels, same numbers: a replayed step equals a step by ``Decoder.compute``, bit for bit.
    Never does: capture a step that computes prompts. Those differ from step to step, and are long.
    """

    def __init__(self, model: Decoder, k_cache: Tensor, v_cache: Tensor, ops: Operations, most: int = 16) -> None:
        self.model, self.k_cache, self.v_cache, self.ops, self.most = model, k_cache, v_cache, ops, most
        # A backend that has no such thing, like the reference, computes every step as it comes.
        self.captures: Captures | None = ops if hasattr(ops, "capture") else None  # type: ignore[assignment]
        self._graphs: dict[tuple[int, int, int, bool], Graph] = {}

    def compute(self, batch: Batch) -> Tensor:
        """Logits [M, vocab_size], by a replay if the batch is a decode step."""
        rows = len(batch.slots)
        if self.captures is not None and batch.wanted is None and rows <= LONGEST:
            try:
                return self._replay(self.captures, batch, rows)
            except CaptureError:  # a model that is not packed: its layers are torch's
                self.captures = None
        return self.model.compute(batch, self.k_cache, self.v_cache, self.ops)

    def _replay(self, captures: Captures, batch: Batch, rows: int) -> Tensor:
        shifts = _power_of_two(len(batch.shift_cos)) if batch.plan.shifted else 0
        key = captures.bucket(rows), shifts, torch.get_num_threads(), batch.voiced is not None
        graph = self._graphs.pop(key, None)
        if graph is None or not captures.replan(graph.batch.plan, batch.plan):
            graph = self._capture(captures, batch, key[0], max(shifts, 1))
        self._graphs[key] = graph  # the last one is the most recently used
        if len(self._graphs) > self.most:
            del self._graphs[next(iter(self._graphs))]
        for place, value in zip(_tensors(graph.batch).values(), _tensors(batch).values(), strict=True):
            place[: len(value)].copy_(value, non_blocking=True)
        graph.batch.slots[rows:] = -1  # the rows that only fill the bucket are not stored
        return graph.replay()[:rows].clone()

    def _capture(self, captures: Captures, batch: Batch, rows: int, shifts: int) -> Graph:
        def place(x: Tensor, size: int) -> Tensor:
            return torch.cat((x, x.new_zeros(size - len(x), *x.shape[1:]))) if size > len(x) else x[:size].clone()

        sizes = {"shift_cos": shifts, "shift_sin": shifts}
        static = {name: place(value, sizes.get(name, rows)) for name, value in _tensors(batch).items()}
        static["slots"][len(batch.slots) :] = -1  # a capture may run the step: what only fills must not be stored
        placed = replace(batch, plan=captures.place(batch.plan, rows), **static)

        def step(ops: Operations) -> Tensor:
            return self.model.compute(placed, self.k_cache, self.v_cache, ops)

        return Graph(placed, captures.capture(step))


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """What changes from step to step, beside the plan."""
    found = {name: getattr(batch, name) for name in ("x", "cos", "sin", "slots", "shift_cos", "shift_sin")}
    return found if batch.voiced is None else found | {"voiced": batch.voiced}


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
