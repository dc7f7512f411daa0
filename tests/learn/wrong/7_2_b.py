"""Moves each piece by all pieces before it, though those of one branch keep their distances."""

from __future__ import annotations

from collections.abc import Sequence

from miniapr import Branch
from miniapr.engine.joins import Merge


def contiguous(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """Every branch is seen as if it began where the one before it ends."""
    view, shift = parent.view, 0
    for branch in branches:
        for piece in branch.own:
            view += [piece.moved(shift)]
            shift += len(piece)
    return Merge(view, parent.position + shift)
