"""Weaves: spans that grow side by side and see each other (Hogwild! Inference, Rodionov et al. 2025; Group Think, Hsu
et al. 2025).

A view holds what is sealed, so under views alone no branch sees what a sibling is writing. In a weave token ``i`` of
each span also sees the first ``i + 1`` tokens of all the others, of those that have so many: both systems append the
keys of a step before they attend, so the same index is seen. What a token saw is thereby a function of its index and of
the others' tokens, and never of when it was computed or with whom.
"""

from __future__ import annotations

from collections.abc import Sequence

from .span import Piece, Span, View

POSITIONS = ("slots", "shared", "contiguous")


class Weave:
    """The spans of one weave, all begun at the same moment: index 0 is the same for all.

    spans      in the order in which they are seen; each knows its weave
    common     how many tokens of their views they have in common, and see first; what a view holds beyond that is what
               its member wrote before, in a weave like this one
    positions  where the others' tokens are seen:
               "slots"       where they were written: each member has positions of its own (Group Think), so that keys
                             may lie ahead of the query
               "shared"      where they were written: all count from the same position on
               "contiguous"  one after the other, the reader's own last, as if it were one text (Hogwild!). Written is
                             as in "shared"; so all that is not the reader's own is seen as moved, and moves on as the
                             others grow
    """

    __slots__ = ("_blocks", "_common", "common", "positions", "spans")

    def __init__(self, spans: Sequence[Span], common: int, positions: str) -> None:
        self.spans, self.common, self.positions = tuple(spans), common, positions
        self._common = spans[0].view.head(common).pieces
        self._blocks = {span: span.view.after(common) for span in spans}
        for span in spans:
            span.weave, span.causal = self, False

    @property
    def index(self) -> int:
        """The first index that was never computed. A span with fewer tokens has been overtaken: nothing can be added
        to it any more, for others would have seen it."""
        return max(span.peak for span in self.spans)

    def sees(self, span: Span, stop: int) -> list[Piece]:
        """All that token ``stop - 1`` of a member sees, itself included, last: positions as its own query counts."""
        ahead = self.ahead(span, stop)
        seen = [piece.moved(-ahead) for piece in self._common]
        at = -ahead
        for other in self.spans:
            if other is not span:
                seen += [piece.moved(at) for piece in self._block(other, stop) if len(piece)]
                at += self._length(other, stop)
        return [*seen, *self._blocks[span], Piece(span, 0, stop)]

    def ahead(self, span: Span, stop: int) -> int:
        """By how much the member's own tokens are further on in the text than where they were written."""
        return sum(self._length(other, stop) for other in self.spans if other is not span)

    def frozen(self, span: Span) -> tuple[View, int]:
        """What the next token of a member would see, as a view, and its position: positions as in the text."""
        stop = max(len(span.tokens), self.index)
        seen, ahead = self.sees(span, stop), self.ahead(span, stop)
        seen[-1] = span.whole()
        return View(piece.moved(ahead) for piece in seen), span.end + ahead

    def _block(self, span: Span, stop: int) -> tuple[Piece, ...]:
        """What a reader at index ``stop - 1`` sees of another member."""
        return (*self._blocks[span], Piece(span, 0, min(stop, len(span.tokens))))

    def _length(self, span: Span, stop: int) -> int:
        """How many positions that takes up in the text, where there is one."""
        return sum(map(len, self._block(span, stop))) if self.positions == "contiguous" else 0
