"""A plain loop over time, one token of every running branch at once, is the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

stretches = st.integers(0, 9)
runs = st.recursive(
    st.lists(stretches, max_size=3),
    lambda inner: st.lists(stretches | st.lists(inner, max_size=3), max_size=3),
    max_leaves=8,
)


def clock(run: list[Any], start: int = 0) -> tuple[int, int]:
    """When the run ends if it begins at ``start``, and the tokens it decodes until then."""
    now, tokens = start, 0
    for part in run:
        if isinstance(part, int):
            for _ in range(part):
                now, tokens = now + 1, tokens + 1
        else:
            ends = [clock(branch, now) for branch in part]
            now = max([now, *(end for end, _ in ends)])
            tokens += sum(count for _, count in ends)
    return now, tokens


def check(work: Any) -> None:
    @given(stretches)
    def one_stretch(length: int) -> None:
        """Without a fork, both are the number of tokens."""
        assert work.total([length]) == length, f"total is {work.total([length])}, not {length}"
        path = work.critical_path([length])
        assert path == length, f"critical_path is {path}, not {length}"

    @given(runs)
    def all_tokens(run: list[Any]) -> None:
        """The total counts every token of every branch."""
        found, true = work.total(run), clock(run)[1]
        assert found == true, f"total is {found}, not {true}"

    @given(runs)
    def longest_way(run: list[Any]) -> None:
        """The critical path is when the last token is there, with one step for all branches at a time."""
        found, true = work.critical_path(run), clock(run)[0]
        assert found == true, f"critical_path is {found}, not {true}"

    one_stretch()
    all_tokens()
    longest_way()
