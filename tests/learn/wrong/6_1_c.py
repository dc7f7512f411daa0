"""Keeps every branch's KV: that is a stitch."""

from __future__ import annotations

from collections.abc import Sequence

from miniapr import Branch, Piece
from miniapr.engine.joins import Merge


def reprefill(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """The parent's history, then the text of each branch, as plain causal text."""
    text = [token for branch in branches for token in branch.span.tokens]
    view = parent.view + [Piece(branch.span, 0, branch.span.written) for branch in branches]
    rest = [token for branch in branches for token in branch.span.tokens[branch.span.written :]]
    return Merge(view, parent.position + len(text) - len(rest), tuple(rest), 0)
