"""Moves that a method makes and that may fail: where there is no room (too deep, too wide, the context is full) they
say so instead of raising, and nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.branch import Branch
from ..engine.operations import Extend, Fork, Join
from ..engine.request import Program


def fork(branch: Branch, seeds: int | Sequence[Sequence[int]], keep: int | None = None) -> Program:
    """Gives the children, none where there is no room. ``keep``: see ``Fork``."""
    try:
        return (yield Fork(branch, seeds, keep))
    except ValueError:
        return []


def append(branch: Branch, *tokens: int) -> Program:
    """Gives whether there was room."""
    try:
        if tokens:
            yield Extend(branch, tokens)
    except ValueError:
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
