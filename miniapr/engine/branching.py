"""What the operations do to branches: start, extend, fork, join, close. No model is run here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..kv.cache import KVCache
from ..kv.pool import PoolFull
from ..kv.span import Piece, Span, View
from ..model.config import ModelConfig
from .branch import Branch, let_go
from .events import Log
from .joins import Join, Merge
from .request import Request
from .sampling import Sampling


class Branching:
    """Changes trees and who holds which views. Each change happens as a whole or not at all.

    ``copy`` fills a moved copy (second) of a span (first); it is the one thing here that touches keys and values.
    """

    def __init__(self, kv: KVCache, config: ModelConfig, log: Log, copy: Callable[[Span, Span], None]) -> None:
        self.kv, self.config, self.log, self.copy = kv, config, log, copy

    def start(self, request: Request, tokens: Sequence[int], sampling: Sampling) -> Branch:
        """A root with these tokens to compute. Raises ValueError if they are none or too many."""
        if not tokens:
            raise ValueError("the prompt is empty: a branch needs at least one token to go on from")
        self._check_tokens(tokens, 0)
        path = (sum(branch.parent is None for branch in request.branches),)
        branch = Branch(request, self.log.number("branch"), View(), self.span(0, View(), tokens), sampling, path=path)
        branch.first = len(tokens)
        request.branches.append(branch)
        self.log.emit("started", request, branch, **written(branch))
        return branch

    def extend(self, branch: Branch, tokens: Sequence[int]) -> None:
        if tokens:
            self._check_tokens(tokens, branch.position)
            branch.span.tokens.extend(tokens)
            branch.logits = None
            self.log.emit("extended", branch.request, branch, tokens=list(tokens))

    def _check_tokens(self, tokens: Sequence[int], position: int) -> None:
        config, pool = self.config, self.kv.pool
        for token in tokens:
            if not 0 <= token < config.vocab_size:
                raise ValueError(f"token {token} is not in the vocabulary of {config.vocab_size}")
        if position + len(tokens) > config.max_position_embeddings:
            raise ValueError(
                f"{len(tokens)} tokens from position {position} on exceed the context of "
                f"{config.max_position_embeddings}"
            )
        if pool.blocks_for(len(tokens)) > len(pool):
            raise ValueError(
                f"{len(tokens)} tokens need {pool.blocks_for(len(tokens))} blocks of {pool.block_size}, "
                f"the pool has {len(pool)}"
            )

    def fork(self, parent: Branch, seeds: Sequence[Sequence[int]]) -> list[Branch]:
        """Seal the parent's span; each child gets the parent's view and an empty span of its own."""
        for seed in seeds:
            self._check_tokens(seed, parent.position)
        if parent.logits is None and not all(seeds):
            raise ValueError(f"branch {parent.id} has no logits that unseeded children could go on from")
        self.seal(parent)
        parent.forks += 1
        for number, seed in enumerate(seeds):
            path = (*parent.path, parent.forks, number)
            span = self.span(parent.position, parent.view, seed)
            child = Branch(parent.request, self.log.number("branch"), parent.view, span, parent.sampling, parent, path)
            child.critical = parent.critical
            child.logits = None if seed else parent.logits
            self.kv.hold(child.view)
            parent.children.append(child)
            parent.request.branches.append(child)
        reused = len(parent.view) * len(seeds)
        parent.request.cost.add(reused=reused)
        children = [{"branch": child.id, **written(child)} for child in parent.children]
        self.log.emit("forked", parent.request, parent, position=parent.position, children=children, reused=reused)
        return list(parent.children)

    def seal(self, branch: Branch) -> None:
        """Nothing more is written to the span; what the branch held as its open span it now holds as a piece.
        Tokens that are not computed yet move on to the new one."""
        span, done = branch.span, branch.span.written
        rest, peak = span.tokens[done:], span.peak
        del span.tokens[done:]
        span.peak = min(peak, done)
        branch.view = branch.view + (span.whole(),)
        branch.span = self.span(span.end, branch.view, rest)
        branch.span.peak = peak - span.peak
        if branch.sampled_at is not None:
            branch.sampled_at -= done
        self.kv.remember(branch.view)
        self.log.emit("sealed", branch.request, branch, **written(branch))

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
        if not fresh and merge.logits is None:
            raise ValueError("the joined branch has no token to go on from: give some in `then`")
        self._check_tokens(fresh, merge.position)
        view, moved = self._materialise(parent.request, merge) if merge.copy else (merge.view, {})
        if not merge.copy:
            self.kv.hold(view)
        joined = self._beside(parent) if keep else self._consume(parent, branches)
        joined.view, joined.first = view, min(joined.first, len(view))
        joined.span = self.span(merge.position, view, fresh)
        joined.span.peak = min(merge.again, len(fresh))
        joined.logits = None if fresh else merge.logits
        joined.critical = max(branch.critical for branch in branches)
        cost = {"recomputed": merge.again, "reused": len(view), "bytes_moved": 0, "keys_shifted": 0, **moved}
        joined.joined_at, joined.join_cost = merge.position + len(merge.compute), cost
        parent.request.cost.add(**{name: n for name, n in cost.items() if name != "recomputed"})
        names = [branch.id for branch in branches]
        seconds = time.perf_counter() - begun
        how = getattr(rule, "__name__", "custom")
        self.log.emit(
            "joined",
            parent.request,
            joined,
            parent=parent.id,
            children=names,
            how=how,
            seconds=seconds,
            **cost,
            **written(joined),
        )
        return joined

    def _beside(self, parent: Branch) -> Branch:
        """A new branch in the parent's place, so that the parent and its branches stay as they are."""
        path = (*parent.path, -len(parent.request.branches))
        span = self.span(parent.position, parent.view)
        joined = Branch(
            parent.request, self.log.number("branch"), parent.view, span, parent.sampling, parent.parent, path
        )
        joined.first = parent.first
        parent.request.branches.append(joined)
        if parent.parent:
            parent.parent.children.append(joined)
        return joined

    def _consume(self, parent: Branch, branches: Sequence[Branch]) -> Branch:
        for child in list(parent.children):
            self.close(child, "joined" if child in branches else "released")
        let_go(self.kv, parent)
        return parent

    def _materialise(self, request: Request, merge: Merge) -> tuple[View, dict[str, int]]:
        """Copy every moved piece to blocks of its own and turn its keys; the returned view is held.

        If the pool has no room for the copies, the query is turned instead: the same result, said in an event.
        """
        copies: dict[Span, Span] = {}  # the moved copy of each source
        pieces = []
        for piece in merge.view:
            if piece.shift != piece.span.turn:
                # From the span's beginning: what is not a beginning could not be computed again.
                source, tokens = piece.span, piece.span.tokens[: piece.stop]
                copy = Span(source.position, source.view, tokens, self.log.number("span"), turn=piece.shift)
                copies[copy] = source
                piece = Piece(copy, piece.start, piece.stop, piece.shift)  # noqa: PLW2901
            pieces.append(piece)
        view = View(tuple(pieces))
        done: list[Span] = []
        try:
            for copy, source in copies.items():
                self.kv.grow(copy, len(copy.tokens))
                done.append(copy)
                self.copy(source, copy)
        except BaseException as error:
            for span in done:
                self.kv.drop_open(span)
            if not isinstance(error, PoolFull):
                raise
            self.log.emit("fallback", request, wanted="stitch_copied", did="stitch_contiguous", why=str(error))
            self.kv.hold(merge.view)
            return merge.view, {}
        self.kv.hold(piece for piece in view if piece.span not in copies)  # the copies' blocks are held already
        for copy, source in copies.items():
            self.log.emit(
                "copied",
                request,
                span=copy.id,
                source=source.id,
                turn=copy.turn,
                blocks=copy.blocks[:],
                position=copy.position,
                tokens=copy.tokens[:],
            )
        blocks = sum(len(span.blocks) for span in copies)
        keys = sum(len(span.tokens) for span in copies)
        return view, {"bytes_moved": blocks * self.kv.pool.bytes_per_block, "keys_shifted": keys}

    def close(self, branch: Branch, state: str) -> None:
        """End a branch and all below it; idempotent. Its tokens stay readable."""
        if branch.state != "alive":
            return
        for child in list(branch.children):
            self.close(child, state)
        branch.end("aborted")
        if branch.request.held:
            self.kv.remember(branch.view + (Piece(branch.span, 0, branch.span.written),))
        let_go(self.kv, branch)
        branch.state = state
        branch.logits = None
        if branch.parent and branch in branch.parent.children:
            branch.parent.children.remove(branch)
        self.log.emit("merged" if state == "joined" else state, branch.request, branch)

    def span(self, position: int, view: View, tokens: Sequence[int] = ()) -> Span:
        return Span(position, view, tokens, self.log.number("span"))


def written(branch: Branch) -> dict[str, Any]:
    """What an event says of a branch that begins a span: its view, and where and with which tokens it goes on."""
    view = [[piece.span.id, piece.start, piece.stop, piece.shift] for piece in branch.view]
    return {"span": branch.span.id, "position": branch.span.position, "tokens": branch.span.tokens[:], "view": view}


def _check_distinct(view: View) -> None:
    """Raises ValueError for a view that holds a token twice: two joins of the same branches, joined again."""
    for i, piece in enumerate(view.pieces):
        for other in view.pieces[:i]:
            if piece.span is other.span and max(piece.start, other.start) < min(piece.stop, other.stop):
                raise ValueError(f"the branches share tokens that they wrote: span {piece.span.id} would be seen twice")
