"""Keeps the first branch's last token, which has no KV yet."""

from __future__ import annotations

from collections.abc import Sequence

from miniapr import Branch, Piece
from miniapr.engine.joins import Merge


def reprefill(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """The parent's history, then the text of each branch, as plain causal text."""
    first = branches[0].span
    kept = len(first.tokens)
    text = [token for branch in branches for token in branch.span.tokens]
    again = sum(branch.span.written for branch in branches[1:])
    return Merge(parent.view + [Piece(first, 0, kept)], parent.position + kept, tuple(text[kept:]), again)
