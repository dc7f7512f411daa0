"""Computes the whole text anew."""

from miniapr import View
from miniapr.engine.joins import Merge


def message(tokens, keep=None):
    def _join(parent, branches):
        view = parent.view if keep is None else parent.view.head(keep)
        return Merge(View(), 0, (*parent.history[: len(view)], *tokens))

    return _join
