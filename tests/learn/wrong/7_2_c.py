"""Every branch is moved by the length of the one before it only."""

from __future__ import annotations

from collections.abc import Sequence

from miniapr import Branch
from miniapr.engine.joins import Merge


def contiguous(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """Every branch is seen as if it began where the one before it ends."""
    view, shift = parent.view, 0
    for branch in branches:
        view += [piece.moved(shift) for piece in branch.own]
        shift = branch.position - parent.position
    return Merge(view, parent.position + shift)
