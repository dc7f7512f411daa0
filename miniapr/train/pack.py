"""From a demonstration to tensors: one trajectory, packed as either join would leave it.

A model meets its branches after the join in a form that depends on the join. Positions and masks are not
written down here a second time: the trajectory is turned into the spans and views that the engine would
hold, and ``unroll``, which also judges the engine, says who stands where and sees whom. So training and
inference cannot drift apart.

    stitch      threads start at one position and do not see each other; what follows the join starts at the
                largest end and sees all (Multiverse, arXiv 2506.09991, section 4)
    reprefill   the concatenated text, plainly causal (ThreadWeaver, arXiv 2512.07843)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..kv.span import Span, View
from ..kv.unroll import unroll
from ..tasks.demonstrations import Trajectory
from ..tasks.vocabulary import ANSWER, BIG, CONTROL, FRACTION, HIT, LIMIT, MISS, OPERATORS, Vocabulary

Join = Literal["stitch", "reprefill"]


@dataclass(frozen=True)
class Packed:
    """One training sequence of T tokens.

    tokens, positions  [T] int64
    visible            [T, T] bool, row i sees column j
    weights            [T] float32, of the loss on predicting token i from the token before it
    """

    tokens: Tensor
    positions: Tensor
    visible: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Batch:
    """B sequences padded to T tokens; the padding sees itself only and weighs nothing; else as ``Packed``."""

    tokens: Tensor
    positions: Tensor
    visible: Tensor
    weights: Tensor
    size: int  # tokens that are not padding


@dataclass(frozen=True)
class Weights:
    """Loss weight per kind of token. The few that decide would drown among the many that copy and compute."""

    plain: float = 1.0
    verdict: float = 6.0  # hit, miss, and the decision to plan
    attempt: float = 3.0  # going on to the next operator: the decision not to call a hit
    conclusion: float = 3.0  # the winning steps
    answer: float = 6.0  # the final expression


class Packer:
    """Packs trajectories. Owns the ids that it must recognise; holds nothing between calls."""

    def __init__(self, vocabulary: Vocabulary, weights: Weights | None = None) -> None:
        ids = vocabulary.ids
        self._weights = weights or Weights()
        self._verdicts = {ids[HIT], ids[MISS], ids[CONTROL["plan"]]}
        self._operators = {ids[op] for op in OPERATORS}
        self._results = {*range(LIMIT + 1), ids[BIG], ids[FRACTION]}
        self._hit, self._answer, self._pad = ids[HIT], ids[ANSWER], ids[CONTROL["pad"]]
        self._seed = 1 + 3  # the thread token and one plan item: forced by the engine, so not learned

    def pack(self, trajectory: Trajectory, join: Join) -> Packed:
        """The dense form of the trajectory's last branch under ``join``, with the loss weights."""
        parts = [
            self._before(trajectory),
            *map(self._thread, trajectory.threads),
            self._after(trajectory.after),
        ]
        view, span = joined(trajectory, join)
        dense = unroll([(view, span)])
        weights = torch.tensor([weight for part in parts for weight in part], dtype=torch.float32)
        return Packed(dense.tokens, dense.positions, dense.visible, weights)

    def _searched(self, tokens: Sequence[int]) -> list[float]:
        """Weights within a search: verdicts, and operators that follow the result of another operator."""
        out = []
        for i, token in enumerate(tokens):
            weight = self._weights.plain
            if token in self._verdicts:
                weight = self._weights.verdict
            elif i >= 2 and self._goes_on(tokens[i - 2], tokens[i - 1], token):
                weight = self._weights.attempt
            out.append(weight)
        return out

    def _goes_on(self, before: int, result: int, token: int) -> bool:
        return before in self._operators and result in self._results and token in self._operators

    def _concluded(self, tokens: Sequence[int]) -> list[float]:
        start = tokens.index(self._answer) if self._answer in tokens else 0
        return [self._weights.conclusion] * start + [self._weights.answer] * (len(tokens) - start)

    def _before(self, trajectory: Trajectory) -> list[float]:
        prompt, tokens = trajectory.prompt, trajectory.before
        # The last hit, if there is one in line, is where the search ends and the conclusion begins.
        cut = len(tokens) - tokens[::-1].index(self._hit) if self._hit in tokens else len(tokens)
        return [0.0] * len(prompt) + self._searched(tokens[:cut]) + self._concluded(tokens[cut:])

    def _thread(self, tokens: Sequence[int]) -> list[float]:
        cut = tokens.index(self._hit) + 1 if self._hit in tokens else len(tokens)
        searched = self._searched(tokens[:cut])[self._seed :]
        return [0.0] * self._seed + searched + [self._weights.conclusion] * (len(tokens) - cut)

    def _after(self, tokens: Sequence[int]) -> list[float]:
        return [0.0, *self._concluded(tokens[1:])] if tokens else []

    def collate(self, sequences: Sequence[Packed]) -> Batch:
        """Pad to the longest. Padding must see itself: a row that sees nothing is NaN in a softmax."""
        rows, length = len(sequences), max(map(len, sequences))
        tokens = torch.full((rows, length), self._pad)  # [B, T]
        positions = torch.zeros(rows, length, dtype=torch.int64)  # [B, T]
        weights = torch.zeros(rows, length)  # [B, T]
        visible = torch.eye(length, dtype=torch.bool).repeat(rows, 1, 1)  # [B, T, T]
        for row, sequence in enumerate(sequences):
            end = len(sequence)
            tokens[row, :end] = sequence.tokens
            positions[row, :end] = sequence.positions
            weights[row, :end] = sequence.weights
            visible[row, :end, :end] = sequence.visible
        return Batch(tokens, positions, visible, weights, sum(map(len, sequences)))


def joined(trajectory: Trajectory, join: Join) -> tuple[View, Span]:
    """The view and the open span that the engine would hold at the end of the trajectory."""
    start = (*trajectory.prompt, *trajectory.before)
    if join == "reprefill" or not trajectory.threads:
        text = (*start, *(token for thread in trajectory.threads for token in thread), *trajectory.after)
        return View(), Span(0, View(), text)
    root = Span(0, View(), start)
    prefix = View((root.whole(),))
    threads = [Span(root.end, prefix, thread) for thread in trajectory.threads]
    view = prefix + [thread.whole() for thread in threads]
    return view, Span(max(thread.end for thread in threads), view, trajectory.after)


def batches(sequences: Iterable[Packed], budget: int) -> Iterator[list[Packed]]:
    """Cut sequences, sorted by length, into batches of at most ``budget`` tokens, padding counted."""
    batch: list[Packed] = []
    for sequence in sorted(sequences, key=len):
        if batch and (len(batch) + 1) * len(sequence) > budget:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch
