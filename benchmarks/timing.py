"""Timing: contestants take turns, and medians with quartiles are reported.

A machine's speed drifts: clocks, neighbours, heat. So nobody is timed alone. In every round each contestant runs
once, in an order drawn anew, and a drift hits all of them alike. The bandwidth of the memory is a contestant too.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

import torch

# One run. A contestant that runs elsewhere (another process, a GPU) returns the seconds it took itself.
Turn = Callable[[], "float | None"]
Clock = Callable[[Callable[[], object]], Turn]  # makes a contestant that measures itself


@dataclass(frozen=True)
class Times:
    """Seconds: the median and the quartiles of ``n`` turns."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        if not seconds:
            raise ValueError("nothing was timed")
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0], 1)
        low, _, high = quantiles(seconds, n=4, method="inclusive")
        return cls(median(seconds), low, high, len(seconds))

    def json(self) -> dict[str, float]:
        return asdict(self)


def interleave(
    turns: Mapping[str, Turn], rounds: int, warmup: int = 1, burst: int = 1, seed: int = 0
) -> dict[str, Times]:
    """Every contestant has one turn a round, in a random order; the first ``warmup`` rounds are not counted.

    In a turn it runs ``burst`` times in a row and the median counts: with 3, the first run, which finds its code
    and data where the one before has left them, is outvoted. So a decoding step is timed as it runs, among its like.
    """
    if rounds < 1 or burst < 1:
        raise ValueError(f"rounds and burst must be at least 1, are {rounds} and {burst}")
    taken: dict[str, list[float]] = {name: [] for name in turns}
    order, draw = list(turns), random.Random(seed)
    gc.collect()
    for number in range(warmup + rounds):
        draw.shuffle(order)  # nobody always runs after the same neighbour, in caches that it has left cold
        for name in order:
            seconds = _turn(turns[name], burst)
            if number >= warmup:
                taken[name].append(seconds)
    return {name: Times.of(seconds) for name, seconds in taken.items()}


def wall(run: Callable[[], object]) -> Turn:
    """``run`` with a clock on the wall around it."""

    def turn() -> float:
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun

    return turn


def _turn(run: Turn, burst: int) -> float:
    taken = []
    for _ in range(burst):
        begun = time.perf_counter()
        told = run()
        seconds = time.perf_counter() - begun
        if told is not None:  # it has measured itself, and its own burst
            return told
        taken.append(seconds)
    return median(taken)


TURNS = {"read": 5, "copy": 3}  # of a round


class Memory:
    """The two ceilings: reading 256 MB, and copying them to another place. Far more than any cache holds."""

    def __init__(self, device: str = "cpu", size: int = 256 << 20) -> None:
        self.source = torch.ones(size // 4, device=device)
        self.target = torch.empty_like(self.source)
        self.size = size

    def read(self) -> None:
        self.source.amax()  # of torch's reductions the one that reads fastest

    def copy(self) -> None:
        self.target.copy_(self.source)

    def turns(self) -> dict[str, Turn]:
        """Contestants for ``interleave``. Each ceiling has several turns a round: all ratios hang on them."""
        return {f"{what} {i}": getattr(self, what) for what, count in TURNS.items() for i in range(count)}

    def speed(self, times: Mapping[str, Times]) -> dict[str, float]:
        """Bytes a second. A copied byte counts twice: it is read and written."""
        taken = {what: median(times[f"{what} {i}"].median for i in range(count)) for what, count in TURNS.items()}
        return {"read": self.size / taken["read"], "copy": 2 * self.size / taken["copy"]}


def bandwidth(rounds: int, memory: Memory) -> dict[str, Any]:
    """The ceilings alone, as a section of its own. Every other section measures them again in its own rounds."""
    times = interleave(memory.turns(), rounds)
    speed = memory.speed(times)
    return {what: {"bytes_per_second": speed[what], **times[f"{what} 0"].json()} for what in TURNS}


class Rotating:
    """``run(0)``, ``run(1)``, ... in turn, over enough data that the caches are cold each time."""

    def __init__(self, run: Callable[[int], object], count: int) -> None:
        self.run, self.count, self.at = run, count, 0

    def __call__(self) -> None:
        self.at = (self.at + 1) % self.count
        self.run(self.at)
