"""There is always room for everything."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st


def run(engine: Any, lengths: list[int], other: int) -> list[int]:
    """Fork into branches of these lengths, let another thread of ``other`` tokens come and go, join, and go on."""
    parent = engine.start([1, 2, 3])
    children = engine.fork(parent, len(lengths))
    for child, length in zip(children, lengths, strict=True):
        engine.decode(child, length)
        engine.end(child)
    engine.end(engine.start(range(500, 500 + other)))
    tokens: list[int] = engine.decode(engine.join(parent, children), 5)
    return tokens


def test(Engine: Any) -> None:
    @given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 8), st.integers(0, 4))
    def holds(lengths: list[int], other: int, spare: int) -> None:
        other = min(other, spare + 5 + sum(lengths))  # what is not the parent's
        small = Engine(size=1000 + spare)
        assert run(small, lengths, other) == run(Engine(size=10_000), lengths, other)

    holds()
