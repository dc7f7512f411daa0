"""What the operations do to trees: fork, join, close. No model is run here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..kv.cache import KVCache
from ..kv.pool import PoolFull
from ..kv.span import Piece, Span, View
from ..model.config import ModelConfig
from .branch import Branch, Tree, let_go
from .events import Log
from .joins import Join, Merge, common
from .spans import Spans, written


class Branching(Spans):
    """Changes trees and who holds which views. Each change happens as a whole or not at all.

    ``copy`` fills a moved copy (second) of a span (first), its keys turned by so many positions: the one thing here
    that touches keys and values.
    """

    def __init__(self, kv: KVCache, config: ModelConfig, log: Log, copy: Callable[[Span, Span, int], None]) -> None:
        super().__init__(kv, config, log)
        self.copy = copy

    def fork(
        self,
        parent: Branch,
        seeds: Sequence[Sequence[int]],
        keep: int | None = None,
        voices: Sequence[int] | None = None,
    ) -> list[Branch]:
        """Seal the parent's span; each child gets the parent's view, or its first ``keep`` tokens, and an empty span
        of its own, in its own voice or the parent's."""
        voices = [parent.span.voice] * len(seeds) if voices is None else voices
        view, position, row = parent.view + (parent.span.whole(),), parent.position, parent.row
        if keep is not None and keep < len(view):
            view, row = view.head(keep), None
            position = view.end
        for seed in seeds:
            self._check_tokens(seed, position)
        if row is None and not all(seeds):
            raise ValueError(f"branch {parent.id} has no logits after {len(view)} tokens, so every child needs a seed")
        self.seal(parent)
        parent.forks += 1
        self.kv.hold(view, times=len(seeds))
        for number, (seed, voice) in enumerate(zip(seeds, voices, strict=True)):
            path = (*parent.path, parent.forks, number)
            span = self.span(position, view, seed, voice)
            child = Branch(parent.request, self.log.number("branch"), view, span, parent.sampling, parent, path)
            child.critical = parent.critical
            child.row = None if seed else row
            parent.children.append(child)
            parent.request.add(child)
        reused = len(view) * len(seeds)
        self._count(parent.request, reused=reused)
        children = [{"branch": child.id, **written(child)} for child in parent.children] if self.log.on else []
        self.log.emit("forked", parent.request, parent, position=position, children=children, reused=reused)
        return list(parent.children)

    def join(self, parent: Branch, branches: Sequence[Branch], rule: Join, then: Sequence[int], keep: bool) -> Branch:
        begun = time.perf_counter()
        if keep:
            for branch in branches:
                self.seal(branch)  # it may go on: not in blocks that the joined branch reads
        merge = rule(parent, branches)
        _check_distinct(merge.view)
        if self.config.learned_positions and any(piece.shift for piece in merge.view):
            raise ValueError(
                f"{self.config.model_type} has learned positions: keys cannot be moved, so this join cannot be made; "
                "stitch (overlapping positions) and reprefill can"
            )
        fresh = [*merge.compute, *then]
        if not fresh and merge.row is None:
            raise ValueError("the joined branch has no token to go on from: give some in `then`")
        self._check_tokens(fresh, merge.position)
        view, moved = self._materialise(parent.request, merge) if merge.copy else (merge.view, {})
        if not merge.copy:
            self.kv.hold(view)
        joined = self._beside(parent) if keep else self._consume(parent, branches)
        if joined.parent and (known := common(joined.view, view)) < joined.first:
            joined.first, joined.born_at = known, view.head(known).end  # it goes on from a child that had less
        joined.view, joined.first = view, min(joined.first, len(view))
        joined.span = self.span(merge.position, view, fresh, parent.span.voice)
        joined.span.again = min(merge.again, len(fresh))
        joined.row = None if fresh else merge.row
        joined.critical = max(branch.critical for branch in branches)
        cost = {"recomputed": merge.again, "reused": len(view), "bytes_moved": 0, "keys_shifted": 0, **moved}
        joined.joined_at, joined.join_cost = merge.position + len(merge.compute), cost
        self._count(parent.request, **{name: n for name, n in cost.items() if name != "recomputed"})
        if self.log.on:
            names, how = [branch.id for branch in branches], getattr(rule, "__name__", "custom")
            seconds = time.perf_counter() - begun
            told: dict[str, Any] = {"parent": parent.id, "children": names, "how": how, "read": merge.read, **cost}
            self._told("joined", joined, seconds=seconds, **told)
        return joined

    def _count(self, tree: Tree, **amounts: int) -> None:
        """What a fork or a join did with keys and values."""
        tree.cost.add(**amounts)

    def _beside(self, parent: Branch) -> Branch:
        """A new branch in the parent's place, so that the parent and its branches stay as they are."""
        path = (*parent.path, -len(parent.request.branches))
        span = self.span(parent.position, parent.view, voice=parent.span.voice)
        joined = Branch(
            parent.request, self.log.number("branch"), parent.view, span, parent.sampling, parent.parent, path
        )
        joined.first = parent.first
        parent.request.add(joined)
        if parent.parent:
            parent.parent.children.append(joined)
        return joined

    def _consume(self, parent: Branch, branches: Sequence[Branch]) -> Branch:
        for child in list(parent.children):
            self.close(child, "joined" if child in branches else "released")
        let_go(self.kv, parent)
        return parent

    def _materialise(self, request: Tree, merge: Merge) -> tuple[View, dict[str, int]]:
        """Copy every moved piece to blocks of its own and turn its keys; the returned view is held.

        If the pool has no room for the copies, the query is turned instead: the same result, said in an event. So it is
        for what was written in a weave: a copy of one member could not be computed again without the others.
        """
        if any(piece.shift and piece.span.weave for piece in merge.view):
            why = "it was written in a weave"
            self.log.emit("fallback", request, wanted="stitch_copied", did="stitch_contiguous", why=why)
        copies: dict[Span, tuple[Span, int]] = {}  # the moved copy of each source, and by how much
        pieces = []
        for piece in merge.view:
            if piece.shift and not piece.span.weave:
                # From the span's beginning: what is not a beginning could not be computed again.
                copy = piece.span.moved(piece.shift, piece.stop, self.log.number("span"))
                copies[copy] = piece.span, piece.shift
                piece = Piece(copy, piece.start, piece.stop)  # noqa: PLW2901
            pieces.append(piece)
        view = View(pieces)
        done: list[Span] = []
        try:
            for copy, (source, by) in copies.items():
                self.kv.grow(copy, len(copy.tokens))
                done.append(copy)
                self.copy(source, copy, by)
        except BaseException as error:
            for span in done:
                self.kv.drop_open(span)
            if not isinstance(error, PoolFull):
                raise
            self.log.emit("fallback", request, wanted="stitch_copied", did="stitch_contiguous", why=str(error))
            self.kv.hold(merge.view)
            return merge.view, {}
        self.kv.hold(piece for piece in view if piece.span not in copies)  # the copies' blocks are held already
        for copy, (source, by) in copies.items() if self.log.on else ():
            lies: dict[str, Any] = {"blocks": copy.blocks[:], "position": copy.position, "tokens": copy.tokens[:]}
            self.log.emit("copied", request, span=copy.id, source=source.id, turn=by, **lies)
        blocks = sum(len(span.blocks) for span in copies)
        keys = sum(len(span.tokens) for span in copies)
        return view, {"bytes_moved": blocks * self.kv.pool.bytes_per_block, "keys_shifted": keys}

    def close(self, branch: Branch, state: str) -> None:
        """End a branch and all below it; idempotent. Its tokens stay readable."""
        if branch.state != "alive":
            return
        below = [branch]  # each before those below it; a loop, since a tree may be deeper than Python's stack
        for one in below:
            below.extend(one.children)
        for one in reversed(below):
            self._close(one, state)

    def _close(self, branch: Branch, state: str) -> None:
        try:
            branch.end("aborted")
        finally:  # what it holds is let go whatever its last text was
            if branch.request.held:
                self.kv.remember(branch.view + (Piece(branch.span, 0, branch.span.written),))
            for one in branch.request.leave(branch):
                let_go(self.kv, one)
            branch.state = state
            branch.row = None
            if branch.parent and branch in branch.parent.children:
                branch.parent.children.remove(branch)
            self.log.emit("merged" if state == "joined" else state, branch.request, branch)


def _check_distinct(view: View) -> None:
    """Raises ValueError for a view that holds a token twice: two joins of the same branches, joined again."""
    stop: dict[Span, int] = {}
    for piece in sorted(view, key=lambda piece: piece.start):
        if piece.start < stop.get(piece.span, 0):
            raise ValueError(f"the branches share tokens that they wrote: span {piece.span.id} would be seen twice")
        stop[piece.span] = piece.stop
