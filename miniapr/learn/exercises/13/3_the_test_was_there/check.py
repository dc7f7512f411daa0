"""Whatever is drawn, and in however many calls: no problem twice."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

calls = st.lists(st.integers(0, 30), min_size=1, max_size=4)
seeds = st.integers(0, 9)


def true(problem: Any) -> Any:
    return tuple(sorted(problem[0])), problem[1]


def check(work: Any) -> None:
    @given(seeds, st.integers(0, 60))
    def within_a_call(seed: int, count: int) -> None:
        """One call draws as many as it should, and none of them twice, in whatever order its numbers stand."""
        drawn = work.draw(random.Random(seed), count)
        assert len(drawn) == count, f"{len(drawn)} problems instead of {count}"
        twice(drawn)

    @given(seeds, calls)
    @settings(max_examples=50)
    def across_calls(seed: int, counts: list[int]) -> None:
        """What one call has drawn, no later one draws, if they share a set, which is empty at first."""
        dice, taken = random.Random(seed), set[Any]()
        drawn = [problem for count in counts for problem in work.draw(dice, count, taken)]
        twice(drawn)
        assert taken == set(map(true, drawn)), "the set that was given does not hold what was drawn"

    @given(seeds)
    @settings(max_examples=10)
    def calls_without_a_set(seed: int) -> None:
        """A call without a set knows of no call before it."""
        first, second = (work.draw(random.Random(seed), 20) for _ in range(2))
        assert first == second, "the same dice gave other problems: what is kept between two calls?"

    @given(seeds)
    @settings(max_examples=10)
    def as_drawn(seed: int) -> None:
        """Problems keep their numbers in the order in which they were drawn."""
        drawn = work.draw(random.Random(seed), 30)
        assert any(list(numbers) != sorted(numbers) for numbers, _ in drawn), "all numbers are sorted"

    def twice(drawn: list[Any]) -> None:
        seen = set[Any]()
        for problem in drawn:
            assert true(problem) not in seen, f"{problem} was drawn twice"
            seen.add(true(problem))

    calls_without_a_set()  # first: a set that outlives its call would be full before long
    within_a_call()
    across_calls()
    as_drawn()
