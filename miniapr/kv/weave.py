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

POSITIONS = ("slots", "shared", "contiguous", "private")


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
               "private"     not at all, before it is shared: a text of what is shared, and the reader's own
    end        the position in the text after what they have in common
    """

    __slots__ = ("_blocks", "_common", "common", "end", "positions", "spans")

    def __init__(self, spans: Sequence[Span], common: int, positions: str, end: int) -> None:
        self.spans, self.common, self.positions, self.end = tuple(spans), common, positions, end
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
        ahead, at = self.ahead(span, stop), self.end
        seen = [piece.moved(-ahead) for piece in self._common]
        for other in self._others(span):
            block = self._block(other, stop)
            by = at - self._begin(other) - ahead if self._as_text else 0
            seen += [piece.moved(by) for piece in block if len(piece)]
            at += sum(map(len, block))
        return [*seen, *self._blocks[span], Piece(span, 0, stop)]

    def ahead(self, span: Span, stop: int) -> int:
        """By how much the member's own tokens are further on in the text than where they were written."""
        if not self._as_text:
            return 0
        before = sum(len(piece) for other in self._others(span) for piece in self._block(other, stop))
        return self.end + before - self._begin(span)

    def frozen(self, span: Span) -> tuple[View, int]:
        """What the next token of a member would see, as a view, and its position: positions as in the text."""
        stop = max(len(span.tokens), self.index)
        seen, ahead = self.sees(span, stop), self.ahead(span, stop)
        seen[-1] = span.whole()
        return View(piece.moved(ahead) for piece in seen), span.end + ahead

    def shared(self, span: Span) -> tuple[Piece, ...]:
        """What a member wrote before its open span, where the text has it once it stands behind the common."""
        return tuple(piece.moved(self.end - self._begin(span)) for piece in self._blocks[span])

    @property
    def _as_text(self) -> bool:
        return self.positions in ("contiguous", "private")

    def _others(self, span: Span) -> list[Span]:
        return [] if self.positions == "private" else [other for other in self.spans if other is not span]

    def _begin(self, span: Span) -> int:
        """The position at which a member's own text was begun."""
        block = self._blocks[span]
        return block[0].position if block else span.position

    def _block(self, span: Span, stop: int) -> tuple[Piece, ...]:
        """What a reader at index ``stop - 1`` sees of another member."""
        return (*self._blocks[span], Piece(span, 0, min(stop, len(span.tokens))))
