"""Position, critical path and total: three counters that agree only as long as nobody forks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """``position`` of the next token, ``path``: tokens decoded one after the other to get here, ``total``: tokens
    decoded here and in all that came before."""

    position: int = 0
    path: int = 0
    total: int = 0


def give(progress: Progress, tokens: int) -> Progress:
    """Tokens appended that nobody decodes: they take positions, not time."""
    return replace(progress, position=progress.position + tokens)


def decode(progress: Progress, tokens: int) -> Progress:
    """Tokens decoded one after the other."""
    return Progress(progress.position + tokens, progress.path + tokens, progress.total + tokens)


def join(parent: Progress, branches: Sequence[Progress], overlap: bool) -> Progress:
    """Where the parent goes on after its branches, each of which began as a copy of it."""
    total = parent.total + sum(branch.total - parent.total for branch in branches)
    # <solution>
    path = max(branch.path for branch in branches)
    if overlap:
        position = max(branch.position for branch in branches)
    else:
        position = parent.position + sum(branch.position - parent.position for branch in branches)
    # </solution>
    # <stub>
    # path = parent.path + sum(branch.path - parent.path for branch in branches)
    # position = parent.position + sum(branch.position - parent.position for branch in branches)
    # </stub>
    return Progress(position, path, total)
