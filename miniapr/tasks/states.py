"""Countdown as a search: states, the steps between them, and what is true of a state.

A state is the numbers that are left and the target. A step takes two of them and puts their result first; the word for
it says by their places which two (``miniapr.tasks.words``). A difference is of the larger and the smaller, a quotient
too. (Numbers were first kept falling: then one word has to name a result and find its place, which is learned late.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .countdown import OPERATORS, Problem, Ranges, operations, split_of
from .task import Split
from .vocabulary import LIMIT
from .words import LABELS, LIKELY, NEVER, PLACES, SURE

Path = tuple[str, ...]


@dataclass(frozen=True)
class State:
    """One to four non-negative integers, and a target. Raises ValueError outside of these bounds, and for a number that
    has no token. The order counts: a problem's numbers fall, and a result stands before what was left. ``operators``:
    of the steps; a prompt does not say it. ``free``: slots that are, if a prompt is to say so; of a state that a step
    leads to nothing is said."""

    numbers: tuple[int, ...]
    target: int
    operators: str = OPERATORS
    free: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.numbers) <= len(PLACES):
            raise ValueError(f"there are words for 1 to {len(PLACES)} numbers at a time, got {len(self.numbers)}")
        for number in (*self.numbers, self.target):
            if not 0 <= number <= LIMIT:
                raise ValueError(f"the vocabulary counts from 0 to {LIMIT}, got {number}")
        if self.free is not None and not 1 <= self.free <= LIMIT:
            raise ValueError(f"free slots are counted from 1 to {LIMIT}, got {self.free}")

    @classmethod
    def of(cls, problem: Problem, operators: str = OPERATORS) -> State:
        return cls(problem.descending, problem.target, operators)


def steps(state: State) -> dict[str, State]:
    """Every legal step by its word, with the state after it: sums first, then differences, products, quotients. Left
    out: results that have no token, and what equal numbers repeat."""
    taken: set[tuple[int, str, int]] = set()
    found = []
    numbers = state.numbers
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            rest = numbers[:i] + numbers[i + 1 : j] + numbers[j + 1 :]
            for step in operations(numbers[i], numbers[j], state.operators):
                key = (step.left, step.op, step.right)
                if step.value <= LIMIT and key not in taken:
                    taken.add(key)
                    after = State((step.value, *rest), state.target, state.operators)
                    found.append((step.op, f"{PLACES[i]}{step.op}{PLACES[j]}", after))
    found.sort(key=lambda entry: OPERATORS.index(entry[0]))  # stable: places keep their order
    return {word: after for _, word, after in found}


def reachable(numbers: tuple[int, ...], operators: str = OPERATORS) -> set[int]:
    """Every target that ``numbers`` can make by ``operators``."""
    if len(numbers) == 1:
        return {numbers[0]}
    if len(numbers) == 2:
        return {step.value for step in operations(*numbers, operators) if step.value <= LIMIT}
    found = steps(State(numbers, 0, operators)).values()
    return {value for after in found for value in reachable(after.numbers, operators)}


def paths(state: State) -> list[Path]:
    """Every path of steps to the target, in the order of a depth-first search."""
    if len(state.numbers) == 1:
        return [()] if state.numbers[0] == state.target else []
    if len(state.numbers) == 2:  # four of five states are such: without making the states after them
        return [(f"a{step.op}b",) for step in operations(*state.numbers, state.operators) if step.value == state.target]
    return [(word, *rest) for word, after in steps(state).items() for rest in paths(after)]


def value(state: State) -> str:
    """``sure``: at most one step from the target; ``likely``: it can be reached by more; ``never``: it cannot."""
    found = paths(state)
    return NEVER if not found else SURE if len(found[0]) <= 1 else LIKELY


NAMES = {"+": "sum", "-": "difference", "*": "product", "/": "quotient"}
ORDINALS = ("first", "second", "third", "fourth")


def in_numbers(word: str, state: State) -> str | None:
    """What a step does, in the numbers that it takes: ``7 * 3``; None if it cannot be taken."""
    i, op, j = LABELS.get(word, (0, "", len(PLACES)))
    if word not in steps(state):
        return None
    return f"{max(state.numbers[i], state.numbers[j])} {op} {min(state.numbers[i], state.numbers[j])}"


def in_words(word: str, state: State) -> str | None:
    """How a step is read, with what stands behind it: ``b*c 21 8: the product of the second and the third number left,
    7 * 3 = 21; 8 is left``. None if it cannot be taken."""
    after, taken = steps(state).get(word), in_numbers(word, state)
    if after is None:
        return None
    i, op, j = LABELS[word]
    result, *others = map(str, after.numbers)
    left = f"; {' and '.join(others)} {'is' if len(others) == 1 else 'are'} left" if others else ""
    what = f"the {NAMES[op]} of the {ORDINALS[i]} and the {ORDINALS[j]} number left"
    return f"{' '.join((word, result, *others))}: {what}, {taken} = {result}{left}"


def expression(path: Sequence[str], numbers: Sequence[int]) -> str | None:
    """The steps of ``path`` from ``numbers`` on as one expression; None if they are not legal or leave more than one
    number. Whatever a model wrote has a defined result."""
    parts = [(number, str(number)) for number in numbers]
    for word in path:
        i, op, j = LABELS.get(word, (0, "", len(parts)))
        if j >= len(parts):
            return None
        left, right = sorted((parts[i], parts[j]), key=lambda part: -part[0])
        value = next((step.value for step in operations(left[0], right[0]) if step.op == op), None)
        if value is None:
            return None
        rest = [part for k, part in enumerate(parts) if k not in (i, j)]
        parts = [(value, f"( {left[1]} {op} {right[1]} )"), *rest]
    return parts[0][1].removeprefix("( ").removesuffix(" )") if len(parts) == 1 and path else None


class Deck:
    """Problems of ``ranges``, from the distribution of ``countdown.draw``, without its thousand searches a problem.

    Owns a table of the targets that each set of numbers cannot and can make. It grows as sets are met; what is drawn
    does not depend on it.
    """

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges
        self._numbers = range(ranges.low, ranges.high + 1)
        self._targets = range(ranges.target_low, ranges.target_high + 1)
        self._known: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}

    def draw(
        self, rng: random.Random, solvable: bool = True, split: Split | None = None, attempts: int = 100_000
    ) -> State:
        """Numbers are kept as often as they have targets that can (or cannot) be reached; one of those is drawn. Raises
        ValueError if ``attempts`` draws find none."""
        ranges = self.ranges
        for _ in range(attempts):
            numbers = tuple(sorted(rng.choices(self._numbers, k=ranges.count), reverse=True))
            if numbers not in self._known:
                made, targets = reachable(numbers, ranges.operators), self._targets
                self._known[numbers] = [t for t in targets if t not in made], [t for t in targets if t in made]
            fit = self._known[numbers][solvable]
            if rng.random() * len(self._targets) < len(fit):
                state = State(numbers, rng.choice(fit), ranges.operators)
                if split is None or split_of(Problem(state.numbers, state.target)) == split:
                    return state
        raise ValueError(f"no problem of split {split} in {attempts} draws from {ranges}")


def held_out(state: State) -> bool:
    """Whether the state, met inside of a larger problem, is a problem that is held out of training."""
    if len(state.numbers) < 3 or 0 in state.numbers:
        return False
    return split_of(Problem(state.numbers, state.target)) != "train"
