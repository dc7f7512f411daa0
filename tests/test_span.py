"""Views and what they stand on, against the plain definitions: a view that grew is the view made at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniapr.kv.ancestry import ancestry
from miniapr.kv.span import Piece, Span, View


@st.composite
def histories(draw: st.DrawFn) -> list[Span]:
    """Spans of up to four tokens, each written after any pieces of those before it, often of views that grew."""
    spans: list[Span] = []
    for _ in range(draw(st.integers(2, 6))):
        view = draw(st.sampled_from([View(), *(span.view for span in spans)]))
        for _ in range(draw(st.integers(0, 3)) if spans else 0):
            span, by = draw(st.sampled_from(spans)), draw(st.sampled_from((0, 0, 3)))
            n = len(span.tokens)
            cuts = draw(st.sampled_from(((0, n), (0, 2), (0, 2, n), (1, n))))
            for start, stop in pairwise(cuts):
                view += (Piece(span, start, stop, by),)
        spans.append(Span(view.length + draw(st.sampled_from((0, 0, 1))), view, range(draw(st.integers(2, 4)))))
    return spans


@given(histories())
def test_a_view_that_grew_piece_by_piece_is_the_view_of_all_its_pieces(spans: list[Span]) -> None:
    for grown in (span.view for span in spans):
        whole = View(Piece(p.span, i, i + 1, p.shift) for p in grown for i in range(p.start, p.stop))
        assert grown == whole
        assert (grown.length, grown.causal) == (sum(map(len, grown)), whole.causal)
        assert grown.causal_prefix == whole.causal_prefix


@given(histories())
def test_ancestry_is_all_that_pieces_stand_on_each_after_what_it_depends_on(spans: list[Span]) -> None:
    needed: dict[Span, int] = {}
    left = [*spans[-1].view, spans[-1].whole()]
    while left:
        piece = left.pop()
        needed[piece.span] = max(needed.get(piece.span, 0), piece.stop)
        left += piece.span.view
    told = ancestry([*spans[-1].view, spans[-1].whole()])
    assert told == needed
    order = list(told)
    assert all(order.index(piece.span) < order.index(span) for span in told for piece in span.view)


def test_f17_m3_causal_text_ends_before_whatever_was_moved_cut_or_written_elsewhere() -> None:
    first = Span(0, View(), range(3))
    prefix = View((first.whole(),))
    after, elsewhere = Span(3, prefix, range(3)), Span(4, prefix, range(3))
    assert (prefix + (after.whole(),)).causal
    later = Span(6, prefix + (after.whole(),), range(3))
    beside = Span(3, prefix, range(6))
    for wrong in (
        beside.whole().moved(3),  # at the position that fits, but turned to it
        Piece(beside, 3, 6),  # there by itself, but what it goes on from is not
        Span(6, View((first.whole(), elsewhere.whole())), range(2)).whole(),  # written after other text
        beside.whole(),  # two at one position
    ):
        view = prefix + (after.whole(), wrong)
        assert not view.causal and view.causal_prefix == prefix + (after.whole(),)
    assert (prefix + (after.whole(), later.whole())).causal


@pytest.mark.parametrize("by", [0, 2])
def test_pieces_melt_only_where_one_goes_on_from_the_other(by: int) -> None:
    span = Span(0, View(), range(6))
    view = View((Piece(span, 0, 2), Piece(span, 2, 4, by), Piece(span, 5, 6, by)))
    assert len(view.pieces) == (3 if by else 2)
    assert [piece.position for piece in view.pieces] == ([0, 4, 7] if by else [0, 5])
