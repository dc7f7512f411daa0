"""Who has its keys and values in the pool: trees are taken up, restored and given up as a whole."""

from __future__ import annotations

from ..kv.ancestry import ancestry
from ..kv.cache import KVCache
from ..kv.span import Piece, Span
from .branch import Branch, Tree, let_go
from .events import Log
from .spans import written


class Residency:
    """What a tree holds, in each of its three conditions (see :class:`~miniapr.engine.branch.Tree`).

    A tree that is taken up again holds what is still there of all that it stands on, and goes on holding as more is
    computed, by itself or by somebody else who needs the same. What others may know is computed by whole blocks
    (``KVCache.whole_blocks``), so whatever is there can be held by all at once, and nobody writes to it again. Only
    when all of it is there do the branches hold their own views, and write on.
    Never does: decide who must give way.
    """

    def __init__(self, kv: KVCache, log: Log) -> None:
        self.kv, self._log = kv, log

    def missing(self, tree: Tree) -> int:
        """Blocks that a tree needs and that are not there."""
        blocks_for = self.kv.pool.blocks_for
        needed = ancestry(piece for branch in tree.holders for piece in branch.view)
        needed |= {branch.span: len(branch.span.tokens) for branch in tree.holders}
        return sum(max(0, blocks_for(stop) - len(span.blocks)) for span, stop in needed.items())

    def take_up(self, tree: Tree) -> None:
        """Hold what is still there of what the tree needs; the rest will be computed."""
        tree.kept = {}
        behind = self.behind(tree)
        self._log.emit("admitted", tree, restore=sum(stop - span.written for span, stop in behind.items()))

    def adopt_prefix(self, branch: Branch) -> Span:
        """Begin a root on what the cache knows. Looked up and held before anything is allocated, so that
        room for the rest is not made by evicting just this (F15), and only once it is computed (F12)."""
        view = self.kv.match(branch.span.tokens)
        if len(view):
            self.kv.hold(view)
            branch.view = view
            branch.span = Span(len(view), view, branch.span.tokens[len(view) :], branch.span.id)
            branch.request.cost.reused += len(view)
            more = written(branch) if self._log.on else {}
            self._log.emit("cached", branch.request, branch, cached=len(view), **more)
        return branch.span

    def behind(self, tree: Tree) -> dict[Span, int]:
        """Spans of which tokens are missing that had been there, each after those that it depends on; held meanwhile
        is what somebody else has computed of them."""
        needed = ancestry(piece for branch in tree.holders for piece in branch.view)
        needed |= {branch.span: branch.span.peak for branch in tree.holders}  # of open spans: what others may know
        for span, stop in needed.items():
            self._keep(tree, span, min(stop, span.written))
        return {span: stop for span, stop in needed.items() if span.written < stop}

    def _keep(self, tree: Tree, span: Span, stop: int) -> None:
        """Hold the first ``stop`` tokens of a span, if not more of it is held already."""
        assert tree.kept is not None
        before = tree.kept.get(span, 0)
        if stop > before:
            self.kv.hold((Piece(span, 0, stop),))
            self.kv.drop((Piece(span, 0, before),))
            tree.kept[span] = stop

    def restored(self, tree: Tree, span: Span) -> None:
        """A span was brought further for the tree: the new blocks are the tree's."""
        assert tree.kept is not None
        tree.kept[span] = span.written
        tree.growing.remove(span)

    def complete(self, tree: Tree) -> bool:
        """From keeping single spans to every branch holding its own view, if all of them are there."""
        if tree.kept is None or self.behind(tree):
            return tree.held
        for branch in tree.holders:
            self.kv.hold((*branch.view, Piece(branch.span, 0, branch.span.written)))
        self._let_go_kept(tree)
        tree.held = True
        return True

    def give_up(self, tree: Tree) -> None:
        """Let go of all blocks of a tree. Its spans know how to be computed again."""
        if tree.held:
            for branch in tree.holders:
                let_go(self.kv, branch)
        self._let_go_kept(tree)
        tree.held = False

    def _let_go_kept(self, tree: Tree) -> None:
        for span in tree.growing:
            self.kv.shrink(span)
        for span, stop in (tree.kept or {}).items():
            self.kv.drop((Piece(span, 0, stop),))
        tree.kept, tree.growing = None, []
