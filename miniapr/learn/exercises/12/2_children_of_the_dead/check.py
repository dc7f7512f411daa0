"""A pool that is counted again, after every step, from those who hold."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

BLOCKS = 100
trees = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=6)
ends = st.lists(st.integers(0, 5), max_size=4)


def grown(work: Any, tree: list[tuple[int, int]]) -> tuple[Any, list[int | None]]:
    """Frames in the order of their calls; frame 0 was called by nobody."""
    calls, callers = work.Calls(BLOCKS), list[int | None]()
    for number, (caller, blocks) in enumerate(tree):
        callers.append(caller % number if number else None)
        calls.call(callers[-1], blocks)
    return calls, callers


def below(frame: int, callers: list[int | None]) -> set[int]:
    return {frame}.union(*(below(one, callers) for one, caller in enumerate(callers) if caller == frame))


def check(work: Any) -> None:
    @settings(max_examples=30)
    @given(trees)
    def all_below(tree: list[tuple[int, int]]) -> None:
        """With a frame all that it called is over, at whatever depth."""
        for frame in range(len(tree)):
            calls, callers = grown(work, tree)
            calls.cancel(frame)
            true = set(range(len(tree))) - below(frame, callers)
            assert calls.running == true, f"after cancel({frame}) {sorted(calls.running)} run, not {sorted(true)}"

    @settings(max_examples=30)
    @given(trees, ends)
    def counted_again(tree: list[tuple[int, int]], cancelled: list[int]) -> None:
        """The free blocks are those that nobody who runs holds, however often and in whatever order frames end."""
        calls, _ = grown(work, tree)
        for frame in (number % len(tree) for number in cancelled):
            calls.cancel(frame)
            true = BLOCKS - sum(tree[one][1] for one in calls.running)
            assert calls.free == true, f"after cancel({frame}) {calls.free} blocks are free, not {true}"

    @settings(max_examples=20)
    @given(trees)
    def done_is_done(tree: list[tuple[int, int]]) -> None:
        """To cancel what has returned changes nothing."""
        calls, _ = grown(work, tree)
        calls.returns(len(tree) - 1)
        before = calls.free, set(calls.running)
        calls.cancel(len(tree) - 1)
        assert (calls.free, calls.running) == before, f"{calls.free} blocks are free, and it was {before[0]}"

    all_below()
    counted_again()
    done_is_done()
