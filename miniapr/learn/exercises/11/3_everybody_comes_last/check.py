"""The engine's own weave is the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.kv.span import Span, View
from miniapr.kv.weave import Weave


@st.composite
def looks(draw: st.DrawFn) -> tuple[list[int], int, int]:
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    me = draw(st.integers(0, len(lengths) - 1))
    return lengths, me, draw(st.integers(0, lengths[me] - 1))


def check(work: Any) -> None:
    @settings(max_examples=10)
    @given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
    def alone(case: tuple[int, int]) -> None:
        """Who is alone sees everything where it was written."""
        found = work.moved([case[0]], 0, case[1])
        assert list(found) == [0, 0], f"the shifts are {found}"

    @settings(max_examples=30)
    @given(looks())
    def as_one_text(case: tuple[list[int], int, int]) -> None:
        """The distances are those of the text: what was before the fork, the others in order, its own last."""
        lengths, me, i = case
        found = work.moved(lengths, me, i)
        seen = [min(length, i + 1) for length in lengths]
        order = [n for n in range(len(lengths)) if n != me]
        query = sum(seen[n] for n in order) + i  # where it stands in the text, from the fork on
        begin = 0
        for n in order:
            true = i - (query - begin)  # seen from the query as written: the same distance to its first word
            assert found[n] == true, f"worker {n} counts as moved by {found[n]}, not {true}"
            begin += seen[n]
        assert found[me] == 0, f"its own words count as moved by {found[me]}"
        assert found[-1] == i - query, f"the text before the fork counts as moved by {found[-1]}, not {i - query}"

    @settings(max_examples=30)
    @given(looks())
    def as_the_engine(case: tuple[list[int], int, int]) -> None:
        """It is what the engine does."""
        lengths, me, i = case
        root = Span(0, View(), [0, 0], id=0)
        spans = [Span(2, View([root.whole()]), [0] * n, id=k) for k, n in enumerate(lengths, start=1)]
        pieces = Weave(spans, 2, "contiguous", 2).sees(spans[me], i + 1)
        true = [next(piece.shift for piece in pieces if piece.span is span) for span in [*spans, root]]
        found = list(work.moved(lengths, me, i))
        assert found == true, f"the shifts are {found}, the engine has {true}"

    alone()
    as_one_text()
    as_the_engine()
