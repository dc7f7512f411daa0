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

from miniapr.ops import Operations

from . import machine
from .models import pack_for

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


class Rotating:
    """``run(0)``, ``run(1)``, ... in turn, over enough data that the caches are cold each time."""

    def __init__(self, run: Callable[[int], object], count: int) -> None:
        self.run, self.count, self.at = run, count, 0

    def __call__(self) -> None:
        self.at = (self.at + 1) % self.count
        self.run(self.at)


CEILINGS = ("read", "copy")
TURNS = 2  # of each way of reading or copying, in a round
WIDTH = 1024  # of the weight that is read by a product


class Memory:
    """What the machine can do at best with ``size`` bytes: reading them, and copying them to another place.

    A floor bounds a contestant only if it reads as many bytes in the same rhythm: what fits a cache is faster from
    the second time on, and no kernel of torch reads as fast as memory can on every machine. So each known way of
    reading takes its turns, that of ``ops`` among them (a product with one row reads a whole weight), and the fastest
    counts.

    cold   take other bytes each time, more than caches hold in all: for a contestant whose data come from memory
    name   tells several apart in the same rounds
    """

    def __init__(
        self,
        size: int = 256 << 20,
        device: str = "cpu",
        ops: Operations | None = None,
        cold: bool = False,
        name: str = "",
    ) -> None:
        self.size, self.name, count = size, name, max(1, machine.beyond_caches() // size) if cold else 1
        sources = [torch.ones(size // 4, device=device) for _ in range(count)]
        self.source, self.target = sources[0], torch.empty_like(sources[0])
        self._readers: dict[str, Turn] = {
            "sum": Rotating(lambda i: sources[i].sum(), count),
            "amax": Rotating(lambda i: sources[i].amax(), count),
        }
        if ops:
            row = torch.ones(1, WIDTH)
            weights = [pack_for(ops, torch.ones(max(1, size // 4 // WIDTH), WIDTH)) for _ in range(count)]
            self._readers["product"] = Rotating(lambda i: ops.linear(row, [weights[i]]), count)

    def copy(self) -> None:
        self.target.copy_(self.source)

    def turns(self) -> dict[str, Turn]:
        """Contestants for ``interleave``. Each has several turns a round: all ratios hang on them."""
        ways = {**{f"read {way}": run for way, run in self._readers.items()}, "copy": self.copy}
        return {f"{self.name}{way} {i}": run for way, run in ways.items() for i in range(TURNS)}

    def speed(self, times: Mapping[str, Times]) -> dict[str, float]:
        """Bytes a second, reading by the fastest of the ways. A copied byte counts twice: it is read and written."""

        def taken(what: str) -> float:
            return min(time.low for name, time in times.items() if name.startswith(f"{self.name}{what}"))

        return {"read": self.size / taken("read"), "copy": 2 * self.size / taken("copy")}


def floor(size: int, read: float, cold: bool = False) -> dict[str, Any]:
    """What a row says of its floor: bytes, the speed at which as many can be read (bytes a second), and the seconds.
    ``cached``: they fit the last-level cache, and stay there from one turn to the next."""
    return {"bytes": size, "read": read, "floor": size / read, "cached": not cold and size <= machine.cache()}


def bandwidth(rounds: int, memory: Memory) -> dict[str, Any]:
    """The ceilings alone, as a section of its own. Every other section measures them again in its own rounds."""
    times = interleave(memory.turns(), rounds)
    fastest = {what: min((t for n, t in times.items() if n.startswith(what)), key=lambda t: t.low) for what in CEILINGS}
    return {what: {"bytes_per_second": speed, **fastest[what].json()} for what, speed in memory.speed(times).items()}
