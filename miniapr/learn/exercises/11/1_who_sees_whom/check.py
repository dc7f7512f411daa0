"""The engine's own weave is the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.kv.span import Span, View
from miniapr.kv.unroll import unroll
from miniapr.kv.weave import Weave

lengths = st.lists(st.integers(0, 3), min_size=1, max_size=3)


def true_mask(prefix: int, lengths: list[int]) -> list[list[bool]]:
    root = Span(0, View(), [0] * prefix, id=0)
    view = View([root.whole()] if prefix else [])
    spans = [Span(prefix, view, [0] * length, id=n) for n, length in enumerate(lengths, start=1)]
    Weave(spans, len(view), "shared", prefix)
    dense = unroll([(span.view, span) for span in spans if span.tokens])
    order = [i for span in [root, *spans] for i in range(len(span.tokens)) for i in [dense.index(span, i)]]
    return [[bool(dense.visible[a][b]) for b in order] for a in order]


def check(work: Any) -> None:
    @settings(max_examples=10)
    @given(st.integers(0, 4))
    def plain_text(prefix: int) -> None:
        """What stands before the fork is ordinary text."""
        found = work.mask(prefix, [])
        true = [[b <= a for b in range(prefix)] for a in range(prefix)]
        assert found == true, f"the mask of {prefix} tokens of text is {found}"

    @settings(max_examples=30)
    @given(st.integers(0, 2), lengths.filter(any))
    def woven(prefix: int, lengths: list[int]) -> None:
        """A worker's token sees the text, and all words up to its own index."""
        found, true = work.mask(prefix, lengths), true_mask(prefix, lengths)
        assert [len(row) for row in found] == [len(true)] * len(true), "a row and a column for each token"
        for a, (mine, right) in enumerate(zip(found, true, strict=True)):
            wrong = [b for b in range(len(true)) if bool(mine[b]) != right[b]]
            assert not wrong, (
                f"token {a} sees token {wrong[0]}: you say {bool(mine[wrong[0]])}, it is {right[wrong[0]]}"
            )

    plain_text()
    woven()
