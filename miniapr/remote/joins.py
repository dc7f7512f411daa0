"""Which joins a client can make: those after which a branch stands on ordinary text."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.branch import Branch, Tree
from ..engine.branching import Branching
from ..engine.joins import Join, Merge


class NeedsEngine(RuntimeError):
    """A join or a weave of keys and values was asked for where there are none."""


class TextBranching(Branching):
    """As in the engine, but for joins whose result is no ordinary causal text."""

    def weave(self, branches: Sequence[Branch], positions: str, slot: int) -> None:
        raise NeedsEngine("in a weave branches read each other's keys as they are written: a server has no such thing")

    def join(self, parent: Branch, branches: Sequence[Branch], rule: Join, then: Sequence[int], keep: bool) -> Branch:
        name = getattr(rule, "__name__", "custom")

        def of_text(parent: Branch, branches: Sequence[Branch]) -> Merge:
            merge = rule(parent, branches)
            if merge.copy or not merge.view.causal:
                raise NeedsEngine(
                    f"join {name!r} puts together keys and values that the branches computed, and those never leave "
                    "the engine that holds them: through a server join by reprefill, message or select"
                )
            return merge

        of_text.__name__ = name
        return super().join(parent, branches, of_text, then, keep)

    def _count(self, tree: Tree, **amounts: int) -> None:
        """Nothing: what of a text had been computed before, the server says with each completion."""
