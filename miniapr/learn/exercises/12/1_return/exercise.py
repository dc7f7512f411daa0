"""What children return takes the place of the call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from miniapr import Branch
from miniapr.engine.joins import Merge


def message(tokens: Sequence[int], keep: int | None = None) -> Callable[[Branch, Sequence[Branch]], Merge]:
    """A join: the first ``keep`` tokens of the parent, then ``tokens``."""
    # <solution>

    def _join(parent: Branch, branches: Sequence[Branch]) -> Merge:
        view = parent.view if keep is None else parent.view.head(keep)
        return Merge(view, view.end, tuple(tokens))

    return _join
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>
