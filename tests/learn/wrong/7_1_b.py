"""Goes on where the last branch ends."""

from __future__ import annotations

from collections.abc import Sequence

from miniapr import Branch
from miniapr.engine.joins import Merge


def stitch(parent: Branch, branches: Sequence[Branch]) -> Merge:
    """What the joined branch sees, and the position of its next token."""
    view = parent.view + (piece for branch in branches for piece in branch.own)
    return Merge(view, branches[-1].position)
