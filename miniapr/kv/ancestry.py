"""What a view stands on: all that must be there before it can be computed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from .span import Piece, Span, View


def ancestry(pieces: Iterable[Piece]) -> dict[Span, int]:
    """Every span needed to compute ``pieces`` from nothing, each after those that it depends on. Spans of one weave
    depend on each other: they come together.

    Returns ``{span: stop}``: the first ``stop`` tokens of the span are needed.
    """
    needed: dict[Span, int] = {}
    open_: dict[Span, int] = {}  # those whose own view is being looked at
    seen: set[int] = set()  # views that were looked at: their spans are in one of the two
    # A stack, not recursion: a history may be longer than Python's own stack is deep.
    stack: list[tuple[Span | None, Iterator[Piece]]] = [(None, iter(pieces))]
    while stack:
        span, left = stack[-1]
        piece = next(left, None)
        if piece is None:
            stack.pop()
            if span is not None:
                needed |= {other: 0 for other in _beside(span) if other not in needed}
                needed[span] = open_.pop(span)
        elif piece.span in needed:
            needed[piece.span] = max(needed[piece.span], piece.stop)
        elif piece.span in open_:
            open_[piece.span] = max(open_[piece.span], piece.stop)
        else:
            open_[piece.span] = piece.stop
            before = [_unseen(span.view, seen) for span in _beside(piece.span)]
            stack.append((piece.span, chain.from_iterable(before)))
    for weave in {span.weave for span in needed if span.weave}:
        stop = max(needed[span] for span in weave.spans)
        needed |= {span: min(stop, len(span.tokens)) for span in weave.spans}
    return needed


def _beside(span: Span) -> tuple[Span, ...]:
    """The spans that can only be computed together with it, itself included."""
    return span.weave.spans if span.weave else (span,)


def _unseen(view: View | None, seen: set[int]) -> list[Piece]:
    """The pieces by which a view goes beyond those of its bases that were looked at."""
    parts: list[tuple[Piece, ...]] = []
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        # The base's last piece may have been melted with the first that came after it.
        parts.append(view.pieces[max(0, len(view.base.pieces) - 1) if view.base else 0 :])
        view = view.base
    return [piece for part in reversed(parts) for piece in part]
