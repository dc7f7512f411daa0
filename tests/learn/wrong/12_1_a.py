"""Goes on after the longest child, as a stitch does."""

from miniapr.engine.joins import Merge


def message(tokens, keep=None):
    def _join(parent, branches):
        view = parent.view if keep is None else parent.view.head(keep)
        return Merge(view, max(branch.position for branch in (parent, *branches)), tuple(tokens))

    return _join
