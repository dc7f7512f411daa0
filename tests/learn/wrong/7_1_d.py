"""Sees the branches and not what the parent saw."""

from __future__ import annotations

from collections.abc import Sequence

from miniapr import Branch, View
from miniapr.engine.joins import Merge


def stitch(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """What the joined branch sees, and the position of its next token."""
    view = View() + (piece for branch in branches for piece in branch.own)
    return Merge(view, max(branch.position for branch in branches))
