"""Countdown: combine every given number, each exactly once, by + - * / into a target.

Rules (those of Stream of Search, arXiv 2404.03683, and APR, arXiv 2504.15466): intermediate results are
non-negative integers, a division must be exact, all numbers are used. Problems are drawn from a seed and
can be verified exactly, so a held-out accuracy is a fact and not a judgement.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from . import arithmetic
from .task import Split, Verdict

MAX_NUMBER = 10_000
MIN_COUNT, MAX_COUNT = 2, 6
OPERATORS = "+-*/"


@dataclass(frozen=True)
class Problem:
    """Two to six positive integers and a target. Raises ValueError outside of these bounds."""

    numbers: tuple[int, ...]
    target: int

    def __post_init__(self) -> None:
        if not MIN_COUNT <= len(self.numbers) <= MAX_COUNT:
            raise ValueError(f"a problem has {MIN_COUNT} to {MAX_COUNT} numbers, got {len(self.numbers)}")
        for number in self.numbers:
            if not 1 <= number <= MAX_NUMBER:
                raise ValueError(f"numbers lie in 1..{MAX_NUMBER}, got {number}")
        if not 0 <= self.target <= MAX_NUMBER:
            raise ValueError(f"a target lies in 0..{MAX_NUMBER}, got {self.target}")

    @property
    def descending(self) -> tuple[int, ...]:
        """The numbers from the largest to the smallest: the order in which every prompt writes them."""
        return tuple(sorted(self.numbers, reverse=True))


@dataclass(frozen=True)
class Ranges:
    """What the generator draws from; both ends of every range are included. ``operators``: those with which a problem
    must be solvable, and by which a teacher searches. Raises ValueError if empty."""

    count: int = 3
    low: int = 1
    high: int = 20
    target_low: int = 1
    target_high: int = 100
    operators: str = OPERATORS

    def __post_init__(self) -> None:
        if not MIN_COUNT <= self.count <= MAX_COUNT:
            raise ValueError(f"a problem has {MIN_COUNT} to {MAX_COUNT} numbers, got count={self.count}")
        if not 1 <= self.low <= self.high <= MAX_NUMBER:
            raise ValueError(f"numbers need 1 <= low <= high <= {MAX_NUMBER}, got {self.low}..{self.high}")
        if not 0 <= self.target_low <= self.target_high <= MAX_NUMBER:
            raise ValueError(
                f"targets need 0 <= low <= high <= {MAX_NUMBER}, got {self.target_low}..{self.target_high}"
            )
        if not self.operators or set(self.operators) - set(OPERATORS):
            raise ValueError(f"operators are some of {OPERATORS}, got {self.operators!r}")


class Step(NamedTuple):
    """One operation ``left op right = value`` with left >= right."""

    left: int
    op: str
    right: int
    value: int


def operations(left: int, right: int, operators: str = OPERATORS) -> list[Step]:
    """The legal operations on two numbers, larger first, in the order + - * /; of ``operators`` only."""
    left, right = max(left, right), min(left, right)
    steps = [
        Step(left, "+", right, left + right),
        Step(left, "-", right, left - right),
        Step(left, "*", right, left * right),
    ]
    if right and left % right == 0:
        steps.append(Step(left, "/", right, left // right))
    return [step for step in steps if step.op in operators]


def solve(problem: Problem, limit: int | None = None, operators: str = OPERATORS) -> str | None:
    """An expression by ``operators`` that ``verify`` accepts, or None if there is none.

    Depth-first over pairs; multisets already found hopeless are not searched again, which keeps six numbers
    in the seconds. With ``limit``, intermediate results above it are not used.
    """
    items = [(number, str(number)) for number in problem.descending]
    expression = _search(items, problem.target, limit, operators, set())
    return None if expression is None else expression.removeprefix("( ").removesuffix(" )")


def _search(
    items: list[tuple[int, str]], target: int, limit: int | None, operators: str, hopeless: set[tuple[int, ...]]
) -> str | None:
    if len(items) == 2:
        large, small = sorted(items, key=lambda item: -item[0])
        hit = next((step for step in operations(large[0], small[0], operators) if step.value == target), None)
        return None if hit is None else f"( {large[1]} {hit.op} {small[1]} )"
    key = tuple(sorted(value for value, _ in items))
    if key in hopeless:
        return None
    for i in range(len(items)):
        for j in range(i + 1, len(items)):
            rest = items[:i] + items[i + 1 : j] + items[j + 1 :]
            large, small = sorted((items[i], items[j]), key=lambda item: -item[0])
            for step in operations(large[0], small[0], operators):
                if limit is not None and step.value > limit:
                    continue
                joined = (step.value, f"( {large[1]} {step.op} {small[1]} )")
                found = _search([*rest, joined], target, limit, operators, hopeless)
                if found is not None:
                    return found
    hopeless.add(key)
    return None


def verify(text: str | None, problem: Problem) -> Verdict:
    """Whether ``text`` is an expression that solves ``problem``, exactly; never raises on any text.

    Checked: permitted arithmetic only (``miniapr.tasks.arithmetic``), each number used exactly as often as
    given, no negative intermediate result, no inexact division, the value. (The path checker of the public
    Stream of Search code compares integers with strings, so it never removes a used number and accepts
    ``5*5`` from one 5.)
    """
    if text is None:
        return Verdict(False, "no answer")
    try:
        tree = arithmetic.parse(text)
        used, given = Counter(arithmetic.leaves(tree)), Counter(problem.numbers)
        for number, times in (used - given).items():
            return Verdict(False, f"{number} is used {times} more than it is given")
        for number, times in (given - used).items():
            return Verdict(False, f"{number} is used {times} less than it is given")
        value = arithmetic.evaluate(tree)
    except arithmetic.Rejected as error:
        return Verdict(False, str(error))
    if value != problem.target:
        return Verdict(False, f"the value is {value}, not {problem.target}", value)
    return Verdict(True, "correct", value)


def split_of(problem: Problem, held_out: float = 0.05) -> Split:
    """The split a problem belongs to, by a stable hash: "sets", else "pairs", else "train".

    "sets" holds a share ``held_out`` of all sorted number sets with all their targets; "pairs" the same share
    of the remaining (sorted numbers, target) pairs. A function of the problem alone, so no split can leak
    into another.
    """
    numbers = " ".join(map(str, problem.descending))
    if _fraction(f"set {numbers}") < held_out:
        return "sets"
    return "pairs" if _fraction(f"pair {numbers} {problem.target}") < held_out else "train"


def _fraction(text: str) -> float:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def draw(
    rng: random.Random,
    ranges: Ranges,
    split: Split | None = None,
    solvable: bool = True,
    attempts: int = 100_000,
) -> Problem:
    """A problem drawn uniformly from ``ranges``, redrawn until it is in ``split`` and solvable (or unsolvable).

    Raises ValueError if ``attempts`` draws find none.
    """
    for _ in range(attempts):
        numbers = tuple(rng.randint(ranges.low, ranges.high) for _ in range(ranges.count))
        problem = Problem(numbers, rng.randint(ranges.target_low, ranges.target_high))
        if split is not None and split_of(problem) != split:
            continue
        if (solve(problem, operators=ranges.operators) is not None) == solvable:
            return problem
    raise ValueError(f"no problem of split {split} in {attempts} draws from {ranges}")
