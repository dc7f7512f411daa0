"""Workers who write into one cache, and pause."""

from __future__ import annotations

from collections.abc import Sequence

Token = tuple[int, int]  # worker, index


class Room:
    """``lengths``: how many tokens each worker will write."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)
        self.cache: list[Token] = []  # in the order in which they came
        self.written = [0] * len(self.lengths)
        self.saw: list[list[set[Token]]] = [[] for _ in self.lengths]

    def done(self) -> bool:
        return self.written == self.lengths

    def step(self, ready: set[int]) -> None:
        """Those who are ready can write a token each."""
        going = [worker for worker in range(len(self.lengths)) if self.written[worker] < self.lengths[worker]]
        # <solution>
        if not set(going) <= ready:
            return
        # </solution>
        # <stub>
        # going = [worker for worker in going if worker in ready]
        # </stub>
        for worker in going:
            self.cache.append((worker, self.written[worker]))
            self.written[worker] += 1
        for worker in going:
            self.saw[worker].append(set(self.cache))
