"""Goes on after the parent, whatever was cut out."""

from miniapr.engine.joins import Merge


def message(tokens, keep=None):
    def _join(parent, branches):
        view = parent.view if keep is None else parent.view.head(keep)
        return Merge(view, parent.position, tuple(tokens))

    return _join
