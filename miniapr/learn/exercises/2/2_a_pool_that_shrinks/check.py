"""A set of blocks for each holder is the judge, through any sequence of calls."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

SIZE = 4
calls = st.lists(
    st.tuples(st.just("allocate"), st.integers(0, SIZE + 1))
    | st.tuples(st.just("release"), st.lists(st.integers(0, SIZE), max_size=3)),
    max_size=8,
)


def check(work: Any) -> None:
    @given(st.integers(0, 5), st.integers(0, 5))
    def all_or_nothing(first: int, second: int) -> None:
        """What cannot be given as a whole is not given at all."""
        pool = work.Pool(5)
        pool.allocate(first)
        free = 5 - first
        if second <= free:
            assert len(set(pool.allocate(second))) == second, f"not {second} different blocks"
            return
        try:
            given_out = pool.allocate(second)
        except work.PoolFull:
            assert len(pool.free) == free, f"{free} blocks were free, after PoolFull {len(pool.free)} are"
        else:
            raise AssertionError(f"of {free} free blocks it gave {len(given_out)}")

    @given(st.lists(st.integers(0, SIZE), max_size=4), st.integers(0, SIZE))
    def given_back_once(blocks: list[int], held: int) -> None:
        """A block that is free already, or named twice, is refused, and nothing changes."""
        pool = work.Pool(SIZE)
        mine = pool.allocate(held)
        right = len(set(blocks)) == len(blocks) and set(blocks) <= set(mine)
        before = sorted(pool.free)
        try:
            pool.release(blocks)
        except ValueError:
            assert not right, f"{blocks} may be given back: {sorted(mine)} are held"
            assert sorted(pool.free) == before, f"refused, and yet the free blocks went from {before} to {pool.free}"
        else:
            assert right, f"{blocks} was taken back, held are {sorted(mine)}"
            after = sorted([*before, *blocks])
            assert sorted(pool.free) == after, f"free are {sorted(pool.free)}, not {after}"

    @given(calls)
    def any_calls(run: list[tuple[str, Any]]) -> None:
        """After any calls, every block is free or held, none is both or free twice."""
        pool, held = work.Pool(SIZE), set()
        for call, argument in run:
            try:
                if call == "allocate":
                    held |= set(pool.allocate(argument))
                else:
                    pool.release(argument)
                    held -= set(argument)
            except (work.PoolFull, ValueError):
                pass
            found, true = sorted([*pool.free, *held]), list(range(SIZE))
            assert found == true, f"after {call}({argument}) free {sorted(pool.free)}, held {sorted(held)}"

    all_or_nothing()
    given_back_once()
    any_calls()
