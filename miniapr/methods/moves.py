"""Moves that a method makes and that may fail: where there is no room (too deep, the context is full) they say so
instead of raising, and nothing has changed. What is wrong otherwise, a join that there is not, say, is raised."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.branch import Branch
from ..engine.cost import NoRoom
from ..engine.joins import Join as Rule
from ..engine.operations import Extend, Fork, Join, Release
from ..engine.request import Program


def fork(branch: Branch, seeds: int | Sequence[Sequence[int]], keep: int | None = None) -> Program:
    """Gives the children, none where there is no room. ``keep``: see ``Fork``."""
    try:
        return (yield Fork(branch, seeds, keep))
    except NoRoom:
        return []


def join(parent: Branch, branches: Sequence[Branch], how: str | Rule, then: Sequence[int] = ()) -> Program:
    """Gives whether there was room; where there was none for what the branches wrote, they are let go."""
    try:
        yield Join(parent, branches, how, then=then)
    except NoRoom:
        yield Release(branches)
        return False
    return True


def append(branch: Branch, *tokens: int) -> Program:
    """Gives whether there was room."""
    try:
        if tokens:
            yield Extend(branch, tokens)
    except NoRoom:
        return False
    return True


def rewrite(branch: Branch, keep: int, tokens: Sequence[int]) -> Program:
    """Go on from the first ``keep`` tokens of a branch's history, with others behind them: what was written after them
    is taken back. Costs no recomputation: it is a fork of the head, and a join that selects it. Gives whether there
    was room."""
    if keep == len(branch.history):
        return (yield from append(branch, *tokens))
    written = yield from fork(branch, [tokens], keep)
    if written:
        yield Join(branch, written, "select")
    return bool(written)
