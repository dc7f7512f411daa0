"""The joins: how branches become one again. Each is a function from views to a view.

Take a parent at position p whose branches A (3 tokens) and B (2 tokens) are done:

    join               the joined branch sees           A at   B at   next   computed again
    stitch             prefix A B                       p      p      p+3    nothing (Multiverse)
    stitch_contiguous  prefix A B, B seen moved by 3    p      p+3    p+5    nothing (Hogwild!)
    stitch_copied      prefix A B', B' a moved copy     p      p+3    p+5    nothing; B copied, keys turned
    reprefill          prefix A b                       p      p+3    p+5    B, now seeing A (ThreadWeaver)
    select             prefix A                         p      -      p+3    nothing (a vote, a search)
    message            a prefix cut short, then text                         the message (APR)

No join changes a branch, so the same branches can be joined in several ways and compared.

Children that were given less (``Fork(keep=)``) join by the same rules: their own text is added where they wrote it
(stitch), moved behind (contiguous, copied) or computed anew (reprefill); select goes on from all that the one sees, and
no more. Only a child that was given nothing cannot be stitched. Its context is not the parent's, but may begin with the
very same tokens, taken from the prefix cache; whether one of them would be seen twice is then chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..kv.span import Piece, View
from .branch import Branch
from .sampling import Row


@dataclass(frozen=True)
class Merge:
    """What a join makes of its branches.

    view      what the joined branch attends to; empty-handed: no KV has moved or been computed yet
    position  of its next token
    compute   tokens to compute under that view, from that position on
    again     how many of them had their KV computed before
    read      how many of them, the first, are the branches' own text, read again; those after are new
    copy      move pieces with a shift for real instead of turning queries
    row       the logits after the last token, if nothing is to be computed
    """

    view: View
    position: int
    compute: tuple[int, ...] = ()
    again: int = 0
    read: int = 0
    copy: bool = False
    row: Row | None = None


Join = Callable[[Branch, Sequence[Branch]], Merge]


def stitch(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """Positions overlap; the next one is after the longest branch, so that nothing seen lies ahead
    (Multiverse, Yang et al. 2025, section 4: next position = max over paths)."""
    view = parent.view + (piece for branch in branches for piece in _own(branch))
    return Merge(view, max(parent.position, *(branch.position for branch in branches)))


def stitch_contiguous(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """Positions as in the concatenated text, by rotating the query for each piece: nothing is moved
    (Hogwild! Inference, Rodionov et al. 2025, section 3)."""
    view, position = parent.view, parent.position
    for branch in branches:
        view += (piece.moved(position - branch.born_at) for piece in _own(branch))
        position += branch.position - branch.born_at
    return Merge(view, position)


def stitch_copied(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """The same positions, with the blocks of moved pieces copied and their keys turned."""
    merge = stitch_contiguous(parent, branches)
    return Merge(merge.view, merge.position, copy=True)


def reprefill(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """Ordinary causal text again, in the parent's voice (ThreadWeaver, Lian et al. 2025, section 3). Of the first
    branch, what it wrote right after the prefix may be already that and is kept; all the rest is computed anew."""
    view = parent.view
    kept = 0
    for piece in branches[0].own:
        ready = Piece(piece.span, piece.start, min(piece.stop, piece.span.written), piece.shift)
        if piece.shift or piece.span.view != view or piece.position != parent.position + kept or not len(ready):
            break
        # Read again, it sees none of what was written beside it, and is said as the parent says it.
        if piece.span.weave or piece.span.voice != parent.span.voice:
            break
        view += (ready,)
        kept += len(ready)  # of what is there in part, the next stands on more than the view has: it ends the loop
    text = [token for branch in branches for piece in branch.own for token in piece.tokens]
    known = sum(min(piece.stop, piece.span.written) - piece.start for b in branches for piece in b.own)
    return Merge(view, parent.position + kept, tuple(text[kept:]), again=known - kept, read=len(text) - kept)


def select(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """Go on from one branch and all that it sees; the others are let go. Raises ValueError unless exactly one is
    given."""
    if len(branches) != 1:
        raise ValueError(f"select goes on from one branch, {len(branches)} were given")
    (branch,) = branches
    return Merge(*branch.seen, row=branch.row)


def message(tokens: Sequence[int], keep: int | None = None) -> Join:
    """The branches' KV is dropped and a message put in their place, after the first ``keep`` tokens of the
    parent's history, by default all of it (APR, Pan et al. 2025, section 3: the call is cut out)."""

    def told(parent: Branch, branches: Sequence[Branch]) -> Merge:
        length = len(parent.view) if keep is None else keep
        least = parent.first if parent.parent else 0
        if not least <= length <= len(parent.view):
            raise ValueError(f"cannot keep {length} tokens: at least {least}, at most {len(parent.view)}")
        view = parent.view.head(length)
        return Merge(view, view.end, tuple(tokens))

    told.__name__ = message.__name__  # as it is called in the events
    return told


def _own(branch: Branch) -> tuple[Piece, ...]:
    """What a stitch adds of a branch. Raises ValueError for one with a context of its own."""
    if not branch.first:
        raise ValueError(
            f"branch {branch.id} was given none of its parent's tokens: its keys are of another context and cannot be "
            "stitched; message, reprefill and select can join it"
        )
    return branch.own


def common(one: View, other: View) -> int:
    """How many tokens two views have in common from the beginning on."""
    length = 0
    for mine, its in zip(one, other, strict=False):
        if (mine.span, mine.start, mine.shift) != (its.span, its.start, its.shift):
            break
        length += min(len(mine), len(its))
        if mine.stop != its.stop:
            break
    return length


JOINS: dict[str, Join] = {f.__name__: f for f in (stitch, stitch_contiguous, stitch_copied, reprefill, select)}

# Joins that read their branches' keys and values, not just their text: every one must be there first (F59, M1).
READ_KV = (stitch, stitch_contiguous, stitch_copied, select)
