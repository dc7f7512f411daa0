"""Going back: what a tree was at one moment, kept so that the tree can be put there again.

    commit     seal what every branch wrote and remember the branches: a few views
    checkout   give the branches those views again
    forget     let go of a commit's blocks

Since spans are never rewritten, going back computes nothing and moves nothing: what the tree did in the meantime
lies in other spans. The names are those of version control, and mean the same.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ..kv.cache import KVCache
from ..kv.span import Span, View
from ..kv.weave import Weave
from .branch import Branch, Tree
from .branching import Branching
from .events import Census
from .residency import Residency

# Of a branch these can change in place; all else is replaced when it changes, so a reference to it is a copy.
IN_PLACE = ("children", "generated", "span")


class Commit:
    """What the branches of a tree were. Owns one hold on each of their views.

    branches  {branch: its attributes}, of those that were alive, and of those that had left a weave that goes on
    weaves    of each its members, and how they see each other
    pool      what had been told of the pool's blocks (see the event ``pool``)
    held      False once the blocks were needed for something else, or after ``forget``. Checkout still works:
              what is no longer there is computed again.
    """

    def __init__(self, request: Tree, pool: Any) -> None:
        self.request, self.pool = request, pool
        self.branches = {branch: _state(branch) for branch in request.holders}
        of = {branch.span: branch for branch in self.branches}
        found = dict.fromkeys(span.weave for span in of if span.weave)
        self.weaves = [([of[s] for s in weave.spans], weave.common, weave.positions, weave.end) for weave in found]
        self.held = False

    @property
    def views(self) -> list[View]:
        return [state["view"] for state in self.branches.values()]

    def hold(self, kv: KVCache) -> None:
        for view in self.views:
            kv.keep(view)
        self.held = True

    def let_go(self, kv: KVCache) -> None:
        """Idempotent."""
        for view in self.views if self.held else ():
            kv.unkeep(view)
        self.held = False


def _state(branch: Branch) -> dict[str, Any]:
    state = {name: value for name, value in vars(branch).items() if name not in IN_PLACE}
    return state | {
        "children": tuple(branch.children),
        "generated": tuple(branch.generated),
        "number": branch.span.id,
        "position": branch.span.position,
        "tokens": tuple(branch.span.tokens),  # of the open span: none of them has been computed
        "again": branch.span.again,
    }


class Commits:
    """All commits of an engine: makes them, goes back to them, lets go of the oldest where room is needed.

    held  those that hold blocks, the oldest first
    """

    def __init__(self, branching: Branching, residency: Residency, census: Census) -> None:
        self._branching, self._residency, self._census = branching, residency, census
        self._kv = branching.kv
        self.held: dict[Commit, None] = {}
        self._of: defaultdict[int, dict[Commit, None]] = defaultdict(dict)  # those that hold, by their tree's number

    def commit(self, tree: Tree) -> Commit:
        """Seal what the branches have written, as a fork does, so that nobody writes there any more."""
        for branch in tree.alive:
            if branch.span.peak if branch.span.weave else tree.held and branch.span.written:
                self._branching.seal(branch)
        self._census.tell()
        made = Commit(tree, self._census.told)
        if tree.held:
            made.hold(self._kv)
            self.held[made] = self._of[tree.id][made] = None
        return made

    def checkout(self, made: Commit) -> None:
        """The branches hold again what they held then. Those born since are "undone"; a later checkout can bring
        them back."""
        tree, kv = made.request, self._kv
        before = [(branch.view, branch.span) for branch in tree.holders] if tree.held else []
        if not tree.held:
            self._residency.give_up(tree)
        for branch in tree.living:
            branch.state, branch.row = "undone", None
        for branch, state in made.branches.items():
            _restore(branch, dict(state))
        for branches, common, positions, end in made.weaves:
            Weave([branch.span for branch in branches], common, positions, end)
        tree.living = {branch: None for branch in made.branches if branch.state == "alive"}
        tree.left = {branch: None for branch in made.branches if branch.state != "alive"}
        self._census.told = made.pool
        tree.held = all(piece.stop <= piece.span.written for view in made.views for piece in view)
        if tree.held:
            for view in made.views:
                kv.hold(view)
        else:  # it was needed for something else in the meantime, and is computed again
            self._residency.take_up(tree)
        # Only now: what both hold must not be free in between.
        for view, span in before:
            kv.drop_open(span)
            kv.drop(view)

    def forget(self, made: Commit) -> None:
        """Let go of a commit's blocks; idempotent."""
        made.let_go(self._kv)
        self.held.pop(made, None)
        of = self._of.get(made.request.id, {})
        of.pop(made, None)
        if not of:
            self._of.pop(made.request.id, None)

    def forget_all(self, tree: Tree) -> None:
        """Let go of the blocks of all of a tree's commits."""
        for made in list(self._of.get(tree.id, ())):
            self.forget(made)

    def forget_oldest(self) -> bool:
        """What is kept only to go back to gives way first. False: there was nothing of that kind."""
        oldest = next(iter(self.held), None)
        if oldest:
            self.forget(oldest)
        return oldest is not None


def _restore(branch: Branch, state: dict[str, Any]) -> None:
    # A new span, for what was written to the old one since then stays where it is; it has the old one's number, so
    # that the events before the commit and those after the checkout are one story.
    view, tokens, number = state["view"], state.pop("tokens"), state.pop("number")
    branch.span = Span(state.pop("position"), view, tokens, number, state.pop("again"), branch.span.voice)
    branch.children, branch.generated = list(state.pop("children")), list(state.pop("generated"))
    vars(branch).update(state)
