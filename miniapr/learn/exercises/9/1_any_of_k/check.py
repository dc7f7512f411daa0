"""All choices, tried out, are the judge."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 7))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


def check(work: Any) -> None:
    @settings(max_examples=30)
    @given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
    def one_try(case: tuple[int, int]) -> None:
        """With one try it is the share of tries that were right."""
        n, c = case
        found = work.pass_at_k(n, c, 1)
        assert abs(found - c / n) < 1e-9, f"pass@1 of {c} right among {n} is {found}, not {c / n}"

    @settings(max_examples=30)
    @given(cases())
    def any_choice(case: tuple[int, int, int]) -> None:
        """It is the share of all choices of k tries that hold a right one."""
        n, c, k = case
        choices = [any(number < c for number in chosen) for chosen in combinations(range(n), k)]
        found, true = work.pass_at_k(n, c, k), sum(choices) / len(choices)
        assert abs(found - true) < 1e-9, f"{sum(choices)} of {len(choices)} choices hold a right one, not {found:.4f}"

    def many_tries() -> None:
        """A thousand tries are no harder than four."""
        found = work.pass_at_k(1000, 1, 500)
        assert abs(found - 0.5) < 1e-9, f"half of all choices of 500 hold the one right try of 1000, not {found:.4f}"

    one_try()
    any_choice()
    many_tries()
