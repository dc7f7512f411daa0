"""The dense form of any set of views: which token stands where, and who sees whom.

This is the judge of the whole engine and the trainer's only source of masks: a decoder without a
cache, run on this form, says what the logits must be, whatever was forked, joined, moved or evicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .ancestry import ancestry
from .span import Piece, Span, View


@dataclass(frozen=True)
class Dense:
    """``T`` tokens of all spans, each once, in an order in which everything seen comes before its viewer (but in a
    weave, whose spans stand one after the other and see each other).

    tokens     [T] int64
    positions  [T] int64, the RoPE index under which each token's own query and key are rotated
    visible    [T, T] bool, ``visible[i, j]``: token i attends to token j
    shift      [T, T] int64, by how much key j counts as moved when i looks at it
    voices     [T] int64, the voice in which each token is said, 0: in none
    offset     where each span begins in T
    """

    tokens: Tensor
    positions: Tensor
    visible: Tensor
    shift: Tensor
    voices: Tensor
    offset: dict[Span, int]

    def index(self, span: Span, i: int) -> int:
        """Where token ``i`` of ``span`` stands."""
        return self.offset[span] + i


def unroll(ends: Sequence[tuple[View, Span]]) -> Dense:
    """Dense form of the branches ``(view, open span)`` and of all that they were computed from.

    A span's tokens see the pieces of the view under which it was written, then themselves causally; in a weave also
    what is written beside them.
    """
    pieces = [piece for view, span in ends for piece in (*view, span.whole())]
    spans = ancestry(pieces)
    offset, total = {}, 0
    for span, stop in spans.items():
        offset[span] = total
        total += stop

    tokens = torch.tensor([t for span, stop in spans.items() for t in span.tokens[:stop]], dtype=torch.int64)
    positions, voices = torch.empty(total, dtype=torch.int64), torch.empty(total, dtype=torch.int64)
    visible = torch.zeros(total, total, dtype=torch.bool)
    shift = torch.zeros(total, total, dtype=torch.int64)
    for span, stop in spans.items():
        here = slice(offset[span], offset[span] + stop)
        positions[here] = torch.arange(span.position, span.position + stop)
        voices[here] = span.voice
        visible[here, here] = torch.ones(stop, stop, dtype=torch.bool).tril()
        for rows, seen in _rows(span, here):
            for piece in seen:
                there = slice(offset[piece.span] + piece.start, offset[piece.span] + piece.stop)
                visible[rows, there] = True
                shift[rows, there] = piece.shift
    return Dense(tokens, positions, visible, shift, voices, offset)


def _rows(span: Span, here: slice) -> Iterator[tuple[slice | int, Iterable[Piece]]]:
    """What the tokens of a span see beside their own: all the same, or in a weave each what stands at its index."""
    if span.weave is None:
        yield here, span.view
        return
    for i in range(here.stop - here.start):
        yield here.start + i, span.weave.sees(span, i + 1)
