"""Who holds which blocks: views, open spans and the prefix tree over one block pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from ..ops.plan import AttentionPlan, PlanBuilder
from .pool import BlockPool, PoolFull
from .prefix import Node, PrefixTree
from .span import Piece, Span, View


class KVCache:
    """Holding and letting go of pieces, room for open spans, reuse of causal prefixes.

    A block belongs to one span. Every holder of a piece counts once on each block that the piece
    touches; when the last one lets go the block is free and the span forgets it. Pieces begin at the
    span's beginning or continue a held one, so what remains of a span is always its beginning: two
    numbers (``written``, ``len(blocks)``) say all about what is there.
    Never does: write to a block that two hold, or give a stitched span to the prefix tree.
    """

    def __init__(self, pool: BlockPool, reuse_prefixes: bool = True) -> None:
        self.pool = pool
        self.tree = PrefixTree()
        self.reuse_prefixes = reuse_prefixes
        self.evictions = 0  # prefixes forgotten to make room, since the beginning
        self._tree_refs = np.zeros(len(pool), dtype=np.int64)  # the tree's share of pool.refs
        self.kept_refs = np.zeros(len(pool), dtype=np.int64)  # the share of commits: states that one can go back to

    # Holding

    def blocks(self, piece: Piece) -> list[int]:
        return piece.span.blocks[piece.start // self.pool.block_size : self.pool.blocks_for(piece.stop)]

    def hold(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if piece.stop > piece.span.written:
                raise RuntimeError(f"{piece} is held, but only {piece.span.written} of its tokens are there")
            self.pool.retain(self.blocks(piece))

    def drop(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._release(piece.span, self.blocks(piece))

    def keep(self, view: View) -> None:
        """Hold a view for a commit: as ``hold``, and counted apart, so that it can be told from what branches read."""
        self.hold(view)
        for piece in view:
            self.kept_refs[self.blocks(piece)] += 1

    def unkeep(self, view: View) -> None:
        for piece in view:
            self.kept_refs[self.blocks(piece)] -= 1
        self.drop(view)

    def drop_open(self, span: Span) -> None:
        """Let go of a whole open span, blocks that were taken and not yet written included."""
        self._release(span, span.blocks)

    def _release(self, span: Span, blocks: Sequence[int]) -> None:
        freed = self.pool.release(list(blocks))
        if not freed:
            return
        if self.pool.refs[span.blocks[-freed:]].any():
            raise RuntimeError(f"{span} lost blocks in its middle: every view must hold it from its beginning")
        del span.blocks[-freed:]
        span.written = min(span.written, len(span.blocks) * self.pool.block_size)

    # Room

    def grow(self, span: Span, tokens: int) -> None:
        """Blocks for the first ``tokens`` tokens of a span; the new ones are the caller's. Raises PoolFull."""
        more = self.pool.blocks_for(tokens) - len(span.blocks)
        if more > 0:
            self.make_room(more)
            span.blocks.extend(self.pool.allocate(more))

    def shrink(self, span: Span) -> None:
        """Give back blocks that ``grow`` took and nothing was written to (a step that failed)."""
        spare = span.blocks[self.pool.blocks_for(span.written) :]
        if spare:
            self._release(span, spare)

    @property
    def reclaimable(self) -> int:
        """Blocks that only the prefix tree holds."""
        return int(((self._tree_refs > 0) & (self._tree_refs == self.pool.refs)).sum())

    @property
    def available(self) -> int:
        return self.pool.free + self.reclaimable

    def make_room(self, blocks: int) -> int:
        """Forget least recently used prefixes that no branch reads until ``blocks`` are free; raises PoolFull."""
        if blocks > self.available:
            raise PoolFull(f"{blocks} blocks wanted, {self.available} of {len(self.pool)} available")
        evicted = 0
        while self.pool.free < blocks:
            leaf, held = self._next_leaf()
            self.tree.remove(leaf)
            self._tree_refs[held] -= 1
            self.drop((leaf.piece,) if leaf.piece else ())
            evicted += 1
        self.evictions += evicted
        return evicted

    def _next_leaf(self) -> tuple[Node, list[int]]:
        """The least recently used leaf with blocks that only the tree holds; if there is none, the least recently
        used one: its blocks stay with who reads them, and it uncovers an edge above that nobody reads."""
        leaves = [(leaf, self.blocks(leaf.piece) if leaf.piece else []) for leaf in self.tree.leaves()]
        idle = ((leaf, held) for leaf, held in leaves if (self.pool.refs[held] == self._tree_refs[held]).any())
        return next(idle, leaves[0])

    def flush(self) -> None:
        """Forget every cached prefix: after a change of weights their KV is another model's (F18)."""
        for node in list(self.tree):
            assert node.piece is not None
            self._tree_refs[self.blocks(node.piece)] -= 1
        nodes, self.tree = list(self.tree), PrefixTree()
        for node in reversed(nodes):  # children before parents: a span is freed from its end
            self.drop((node.piece,) if node.piece else ())

    # Prefixes

    def match(self, tokens: Sequence[int]) -> View:
        """The longest cached beginning of ``tokens``, short of the last one: its logits are needed (F13)."""
        return View(self.tree.match(tokens[:-1])) if self.reuse_prefixes else View()

    def remember(self, view: View) -> None:
        """Offer a view to the tree; only its causal beginning is taken, and only if all of it is there."""
        pieces = view.causal_prefix.pieces
        if not self.reuse_prefixes or any(piece.stop > piece.span.written for piece in pieces):
            return
        hold, drop = self.tree.insert(pieces)
        for piece in hold:
            self._tree_refs[self.blocks(piece)] += 1
        for piece in drop:
            self._tree_refs[self.blocks(piece)] -= 1
        self.hold(hold)
        self.drop(drop)

    def full_blocks(self, span: Span) -> Piece:
        """What of an open span may be shared: the tail is still being written, and a block that two hold never is."""
        return Piece(span, 0, span.written // self.pool.block_size * self.pool.block_size)

    # What a forward pass needs

    def slots(self, span: Span, start: int, stop: int) -> list[int]:
        """Where tokens ``start:stop`` go. Raises RuntimeError if another one holds a block among them."""
        size = self.pool.block_size
        blocks = span.blocks[start // size : self.pool.blocks_for(stop)]
        if (self.pool.refs[blocks] != 1).any():
            raise RuntimeError(f"{span}: tokens {start}:{stop} would be written to a block that another holds")
        return [span.blocks[i // size] * size + i % size for i in range(start, stop)]

    def plan(self, jobs: Iterable[tuple[View, Span, int, int]]) -> AttentionPlan:
        """The plan of a step that computes tokens ``start:stop`` of each (view, span, start, stop).

        Of a shift, only what the keys were not already turned by for real is left to the query.
        """
        builder = PlanBuilder()
        for view, span, start, stop in jobs:
            rows = stop - start
            for piece in view:
                first = piece.start % self.pool.block_size
                run = (piece.span, piece.start)  # readers of one run may see more or less of it
                builder.see(run, self.blocks(piece), first, len(piece), piece.shift - piece.span.turn, rows, ramp=0)
            own = self.blocks(Piece(span, 0, stop))
            builder.see((span, 0), own, 0, start + 1, 0, rows, ramp=1)
            builder.end_rows(rows)
        return builder.build()

    # Truth

    def check(self, held: Iterable[Piece], open_spans: Iterable[Span], kept: Iterable[Piece] = ()) -> None:
        """Recount everything from the holders themselves and compare (F02, F04, F06). Raises AssertionError."""
        self.pool.check()
        tree: Counter[int] = Counter()
        for node in self.tree:
            assert node.piece is not None and node.piece.span.causal and node.piece.stop <= node.piece.span.written
            tree.update(self.blocks(node.piece))
        commits: Counter[int] = Counter()
        for piece in kept:
            commits.update(self.blocks(piece))
        count = tree + commits
        for piece in held:
            assert piece.stop <= piece.span.written, f"{piece} is held but not there"
            count.update(self.blocks(piece))
        for span in open_spans:
            assert len(span.blocks) == self.pool.blocks_for(span.written), f"{span} has {len(span.blocks)} blocks"
            count.update(span.blocks)
        told = (("pool", self.pool.refs, count), ("tree", self._tree_refs, tree), ("commits", self.kept_refs, commits))
        for name, refs, truth in told:
            wrong = {b: (int(n), truth[b]) for b, n in enumerate(refs) if n != truth[b]}
            assert not wrong, f"{name} counts differ from the holders' (block: counted, true): {wrong}"
