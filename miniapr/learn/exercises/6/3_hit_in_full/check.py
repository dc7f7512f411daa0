"""At least one row for the logits, whole blocks only, and as much reuse as that allows."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

cases = st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(
    lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(0, pair[1]))
)


def check(work: Any) -> None:
    @given(cases)
    def a_row_for_the_logits(case: tuple[int, int, int]) -> None:
        """At least one token is computed: its logits choose the next one. (A case is size, length, cached.)"""
        size, length, cached = case
        reused, computed = work.begin(list(range(length)), cached, size)
        assert computed, f"{reused} of {length} tokens are reused, none is computed"
        assert computed == list(range(reused, length)), f"after {reused} reused tokens, {computed} are computed"

    @given(cases)
    def whole_blocks(case: tuple[int, int, int]) -> None:
        """What is reused is in the cache, and ends with a block. (A case is size, length, cached.)"""
        size, length, cached = case
        reused, _ = work.begin(list(range(length)), cached, size)
        assert 0 <= reused <= cached, f"{reused} tokens are reused, {cached} are cached"
        assert reused % size == 0, f"{reused} tokens are reused: a block of {size} is shared and written to"

    @given(cases)
    def no_less_than_can_be(case: tuple[int, int, int]) -> None:
        """No block is computed that could be reused. (A case is size, length, cached.)"""
        size, length, cached = case
        reused, _ = work.begin(list(range(length)), cached, size)
        more = reused + size
        assert more > cached or more >= length, f"{reused} tokens are reused, {more} could be"

    a_row_for_the_logits()
    whole_blocks()
    no_less_than_can_be()
