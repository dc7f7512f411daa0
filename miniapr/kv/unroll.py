"""The dense form of any set of views: which token stands where, and who sees whom.

This is the judge of the whole engine and the trainer's only source of masks: a decoder without a
cache, run on this form, says what the logits must be, whatever was forked, joined, moved or evicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .span import Span, View, ancestry


@dataclass(frozen=True)
class Dense:
    """``T`` tokens of all spans, each once, in an order in which everything seen comes before its viewer.

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

    A span's tokens see the pieces of the view under which it was written, then themselves causally.
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
        for piece in span.view:
            there = slice(offset[piece.span] + piece.start, offset[piece.span] + piece.stop)
            visible[here, there] = True
            shift[here, there] = piece.shift
    return Dense(tokens, positions, visible, shift, voices, offset)
