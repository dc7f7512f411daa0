"""How much hangs on each token of a spelled-out demonstration, and the form in which it is packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..tasks.countdown import OPERATORS
from ..tasks.demonstrations import Trajectory
from ..tasks.vocabulary import ANSWER, BIG, CONTROL, FRACTION, HIT, LIMIT, MISS, Vocabulary
from .text import Join, Packed, Text, pack


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
        self._hit, self._answer = ids[HIT], ids[ANSWER]
        self._seed = 1 + 3  # the thread token and one plan item: forced by the engine, so not learned

    def pack(self, trajectory: Trajectory, join: Join) -> Packed:
        """The dense form of the trajectory's last branch under ``join``, with the loss weights."""
        threads = tuple(Text(thread, tuple(self._thread(thread))) for thread in trajectory.threads)
        then = Text(trajectory.after, tuple(self._after(trajectory.after))) if trajectory.threads else None
        start = (*trajectory.prompt, *trajectory.before)
        return pack(Text(start, tuple(self._before(trajectory)), threads, then), join)

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
