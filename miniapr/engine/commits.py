"""Going back: what a tree was at one moment, kept so that the tree can be put there again.

    commit     seal what every branch wrote and remember the branches: a few views
    checkout   give the branches those views again
    forget     let go of a commit's blocks

Since spans are never rewritten, going back computes nothing and moves nothing: what the tree did in the meantime
lies in other spans. The names are those of version control, and mean the same.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from ..kv.cache import KVCache
from ..kv.span import Span, View
from .branch import Branch
from .request import Request

if TYPE_CHECKING:
    from .by_hand import ByHand

# Of a branch these can change in place; all else is replaced when it changes, so a reference to it is a copy.
IN_PLACE = ("children", "generated", "rng", "span")


class Commit:
    """What the branches of a request were. Owns one hold on each of their views.

    branches  {branch: its attributes}, of those that were alive
    pool      what had been told of the pool's blocks (see the event ``pool``)
    held      False once the blocks were needed for something else, or after ``forget``. Checkout still works:
              what is no longer there is computed again.
    """

    def __init__(self, request: Request, pool: Any) -> None:
        self.request, self.pool = request, pool
        self.branches = {branch: _state(branch) for branch in request.alive}
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
        "random": branch.rng.getstate(),
        "number": branch.span.id,
        "position": branch.span.position,
        "tokens": tuple(branch.span.tokens),  # of the open span: none of them has been computed
        "peak": branch.span.peak,
    }


def commit(engine: ByHand, request: Request) -> Commit:
    """Seal what the branches have written, as a fork does, so that nobody writes there any more."""
    if request.held:
        for branch in request.alive:
            if branch.span.written:
                engine.branching.seal(branch)
    engine.tell()
    made = Commit(request, engine.told)
    if request.held:
        made.hold(engine.kv)
    request.commits.append(made)
    return made


def checkout(engine: ByHand, made: Commit) -> None:
    """The branches hold again what they held then. Those born since are "undone"; a later checkout can bring
    them back."""
    request, kv = made.request, engine.kv
    before = [(branch.view, branch.span) for branch in request.alive] if request.held else []
    if not request.held:
        engine.scheduler.give_up(request)
    for branch in request.alive:
        branch.state, branch.logits = "undone", None
    for branch, state in made.branches.items():
        _restore(branch, dict(state))
    engine.told = made.pool
    request.held = all(piece.stop <= piece.span.written for view in made.views for piece in view)
    if request.held:
        for view in made.views:
            kv.hold(view)
    else:  # it was needed for something else in the meantime, and is computed again
        engine.scheduler.take_up(request)
    # Only now: what both hold must not be free in between.
    for view, span in before:
        kv.drop_open(span)
        kv.drop(view)


def _restore(branch: Branch, state: dict[str, Any]) -> None:
    # A new span, for what was written to the old one since then stays where it is; it has the old one's number, so
    # that the events before the commit and those after the checkout are one story.
    branch.span = Span(state.pop("position"), state["view"], state.pop("tokens"), state.pop("number"))
    branch.span.peak = state.pop("peak")
    branch.rng = random.Random()
    branch.rng.setstate(state.pop("random"))
    branch.children, branch.generated = list(state.pop("children")), list(state.pop("generated"))
    vars(branch).update(state)


def forget(engine: ByHand, made: Commit) -> None:
    """Idempotent."""
    made.let_go(engine.kv)
    if made in made.request.commits:
        made.request.commits.remove(made)
