"""Computes the branches after the first again."""

from __future__ import annotations

from collections.abc import Sequence

from miniapr import Branch
from miniapr.engine.joins import Merge


def stitch(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """What the joined branch sees, and the position of its next token."""
    text = tuple(token for branch in branches[1:] for token in branch.tokens)
    return Merge(parent.view + branches[0].own, branches[0].position, text, again=len(text))
