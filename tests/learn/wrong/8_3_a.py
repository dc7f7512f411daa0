"""Only says that siblings differ."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st


def siblings(engine: Any, order: list[int]) -> dict[int, tuple[int, ...]]:
    """Six tokens of each child, asked for in this order."""
    children = engine.fork(engine.start([1, 2]), len(order))
    return {number: tuple(engine.decode(children[number], 6)) for number in order}


def test(Engine: Any) -> None:
    @given(st.integers(0, 100))
    def a_run_can_be_repeated(seed: int) -> None:
        runs = [siblings(Engine(size=1000, seed=seed), [0, 1, 2]) for _ in range(2)]
        assert runs[0] == runs[1]

    a_run_can_be_repeated()

    @given(st.integers(0, 100))
    def _siblings_differ(seed: int) -> None:
        found = siblings(Engine(size=1000, seed=seed), [0, 1, 2])
        assert len(set(found.values())) == 3

    @given(st.integers(0, 100), st.permutations([0, 1, 2]))
    def _the_order_does_not_matter(seed: int, order: list[int]) -> None:
        asked = siblings(Engine(size=1000, seed=seed), order)
        assert asked == siblings(Engine(size=1000, seed=seed), [0, 1, 2])

    _siblings_differ()
