"""Problems for training and for the test, none of them twice."""

from __future__ import annotations

import random

Problem = tuple[tuple[int, ...], int]  # numbers, target


def key(problem: Problem) -> Problem:
    """The same for problems that are the same."""
    numbers, target = problem
    # <solution>
    return tuple(sorted(numbers)), target
    # </solution>
    # <stub>
    # return numbers, target
    # </stub>


def draw(dice: random.Random, count: int, taken: set[Problem] | None = None) -> list[Problem]:
    """``count`` problems that are not in ``taken``, which they are added to."""
    # <solution>
    taken = set() if taken is None else taken
    # </solution>
    # <stub>
    # taken = taken or set()
    # </stub>
    drawn: list[Problem] = []
    while len(drawn) < count:
        problem = tuple(dice.randint(1, 6) for _ in range(3)), dice.randint(1, 9)
        if key(problem) not in taken:
            taken.add(key(problem))
            drawn.append(problem)
    return drawn
