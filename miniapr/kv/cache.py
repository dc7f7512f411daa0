"""Who holds which blocks: views, open spans and the prefix tree over one block pool."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, groupby

import numpy as np
import numpy.typing as npt

from ..ops.plan import AttentionPlan, PlanBuilder
from .pool import BlockPool, PoolFull
from .prefix import PrefixTree
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
        size = self.pool.block_size
        return piece.span.blocks[piece.start // size : -(-piece.stop // size)]

    def hold(self, pieces: Iterable[Piece], times: int = 1) -> None:
        """``times`` more holders of every piece."""
        blocks: list[int] = []
        for piece in pieces:
            if piece.stop > piece.span.written:
                raise RuntimeError(f"{piece} is held, but only {piece.span.written} of its tokens are there")
            blocks += self.blocks(piece)
        self.pool.retain(blocks, times)

    def drop(self, pieces: Iterable[Piece]) -> None:
        blocks: list[int] = []
        spans: dict[Span, None] = {}
        for piece in pieces:
            blocks += self.blocks(piece)
            spans[piece.span] = None
        self._release(spans, blocks)

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
        self._release((span,), span.blocks)

    def _release(self, spans: Iterable[Span], blocks: Sequence[int]) -> None:
        """One holder less of each of these spans' blocks; what nobody holds any more, its span forgets."""
        freed = self.pool.release(blocks)
        for span in spans:
            self.tree.wake(span)
            there = len(span.blocks)
            while freed and there and not self.pool.refs[span.blocks[there - 1]]:
                there, freed = there - 1, freed - 1
            if there < len(span.blocks):
                del span.blocks[there:]
                span.written = min(span.written, there * self.pool.block_size)
        if freed:
            raise RuntimeError(f"{freed} blocks were lost in the middle of a span: a view holds it from its beginning")

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
            self._release((span,), spare)

    @property
    def reclaimable(self) -> int:
        """Blocks that only the prefix tree holds."""
        return int(((self._tree_refs > 0) & (self._tree_refs == self.pool.refs)).sum())

    @property
    def available(self) -> int:
        return self.pool.free + self.reclaimable

    def make_room(self, blocks: int) -> int:
        """Forget least recently used prefixes that no branch reads until ``blocks`` are free; raises PoolFull.
        Returns how many were forgotten."""
        if blocks <= self.pool.free:
            return 0
        if blocks > self.available:
            raise PoolFull(f"{blocks} blocks wanted, {self.available} of {len(self.pool)} available")
        evicted = 0
        while self.pool.free < blocks:
            piece = self.tree.next_leaf(self._idle)
            assert piece is not None, "blocks that only the tree holds are in none of its leaves"
            self._tree_refs[self.blocks(piece)] -= 1
            self.drop((piece,))
            evicted += 1
        self.evictions += evicted
        return evicted

    def _idle(self, piece: Piece) -> bool:
        """Whether forgetting it frees a block: one that only the tree holds."""
        held = self.blocks(piece)
        return bool((self.pool.refs[held] == self._tree_refs[held]).any())

    def flush(self) -> None:
        """Forget every cached prefix: after a change of weights their KV is another model's (F18)."""
        nodes, self.tree = list(self.tree), PrefixTree()
        pieces = [node.piece for node in nodes if node.piece is not None]
        for piece in pieces:
            self._tree_refs[self.blocks(piece)] -= 1
        self.drop(pieces)

    # Prefixes

    def match(self, tokens: Sequence[int]) -> View:
        """The longest cached beginning of ``tokens``, short of the last one: its logits are needed (F13)."""
        return View(self.tree.match(tokens[:-1])) if self.reuse_prefixes else View()

    def remember(self, view: View) -> None:
        """Offer a view to the tree; only its causal beginning is taken, and only if all of it is there."""
        if not self.reuse_prefixes:
            return
        pieces = view.causal_prefix.pieces
        if any(piece.stop > piece.span.written for piece in pieces):
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

    def whole_blocks(self, span: Span, stop: int) -> int:
        """``stop``, or beyond it up to where a block of the span is complete, or as full as it ever was.

        What is computed again is computed as far as that: somebody else who knows these tokens may hold the block
        as soon as it is there, and nobody may write to it then. (Spans of a weave have their blocks' borders at the
        same indices, and are brought as far together.)
        """
        size, ever = self.pool.block_size, span.weave.index if span.weave else span.peak
        return max(stop, min(-(-stop // size) * size, ever))

    # What a forward pass needs

    def slots(self, spans: Iterable[tuple[Span, int, int]]) -> list[int]:
        """Where tokens ``start:stop`` of each span go. Raises RuntimeError if another one holds a block of them."""
        size = self.pool.block_size
        slots: list[int] = []
        for span, start, stop in spans:
            if stop == start + 1:
                slots.append(span.blocks[start // size] * size + start % size)
            else:
                slots.extend(span.blocks[i // size] * size + i % size for i in range(start, stop))
        shared = self.pool.refs[[slot // size for slot in slots]] != 1
        if shared.any():
            slot = slots[int(shared.argmax())]
            raise RuntimeError(f"slot {slot} would be written, in block {slot // size}, which another one holds")
        return slots

    def plan(self, jobs: Iterable[tuple[View, Span, int, int]]) -> AttentionPlan:
        """The plan of a step that computes tokens ``start:stop`` of each (view, span, start, stop)."""
        builder, size = PlanBuilder(), self.pool.block_size
        for _, siblings in groupby(jobs, key=lambda job: id(job[0])):  # one view is one question, for all who have it
            together = list(siblings)
            if together[0][1].weave:
                self._plan_woven(builder, together)
                continue
            rows = sum(stop - start for _, _, start, stop in together)
            for piece in together[0][0]:
                run = (piece.span, piece.start)  # readers of one run may see more or less of it
                builder.see(run, self.blocks(piece), piece.start % size, len(piece), piece.shift, rows, 0)
            for _, span, start, stop in together:
                builder.see((span, 0), span.blocks[: -(-stop // size)], 0, start + 1, 0, stop - start, 1)
                builder.end_rows(stop - start)
        return builder.build()

    def _plan_woven(self, builder: PlanBuilder, jobs: Iterable[tuple[View, Span, int, int]]) -> None:
        """Row by row: each sees more of the others than the one before, and may see it elsewhere."""
        for _, span, start, stop in jobs:
            assert span.weave is not None
            for i in range(start, stop):
                for piece in span.weave.sees(span, i + 1):
                    run = (piece.span, piece.start)
                    first = piece.start % self.pool.block_size
                    builder.see(run, self.blocks(piece), first, len(piece), piece.shift, 1, 0)
                builder.end_rows(1)

    # Truth

    def check(self, held: Iterable[Piece], open_spans: Iterable[Span], kept: Iterable[Piece] = ()) -> None:
        """Recount everything from the holders themselves and compare (F02, F04, F06). Raises AssertionError."""
        self.pool.check()
        remembered: list[Piece] = []
        for node in self.tree:
            assert node.piece is not None and node.piece.span.causal and node.piece.stop <= node.piece.span.written
            remembered.append(node.piece)
        tree, commits, held = self._count(remembered), self._count(kept), list(held)
        for piece in held:
            assert piece.stop <= piece.span.written, f"{piece} is held but not there"
        spans = list(open_spans)
        for span in spans:
            assert len(span.blocks) == self.pool.blocks_for(span.written), f"{span} has {len(span.blocks)} blocks"
        open_ = self._count(Piece(span, 0, span.written) for span in spans)
        all_ = tree + commits + open_ + self._count(held)
        told = (("pool", self.pool.refs, all_), ("tree", self._tree_refs, tree), ("commits", self.kept_refs, commits))
        for name, refs, truth in told:
            wrong = {int(b): (int(refs[b]), int(truth[b])) for b in np.nonzero(refs != truth)[0]}
            assert not wrong, f"{name} counts differ from the holders' (block: counted, true): {wrong}"

    def _count(self, pieces: Iterable[Piece]) -> npt.NDArray[np.int64]:
        """How often each block is in a piece: [num_blocks]."""
        blocks = np.fromiter(chain.from_iterable(map(self.blocks, pieces)), np.int64)
        return np.bincount(blocks, minlength=len(self.pool))
