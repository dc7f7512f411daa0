"""The block pool against a model of it, and every short life of spans in a pool of three blocks."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miniapr.kv.cache import KVCache
from miniapr.kv.pool import BlockPool, PoolFull
from miniapr.kv.span import Piece, Span, View


def pool(blocks: int = 3, block_size: int = 1) -> BlockPool:
    return BlockPool(blocks, block_size, layers=1, kv_heads=1, head_dim=2)


def test_f01_f05_releasing_what_nobody_holds_raises_and_changes_nothing() -> None:
    p = pool()
    (block,) = p.allocate(1)
    p.release([block])
    for wrong in (p.release, p.retain):
        with pytest.raises(RuntimeError, match="nobody holds"):
            wrong([block])
        p.check()
    assert p.free == 3
    held = p.allocate(2)
    free = next(b for b in range(3) if b not in held)
    with pytest.raises(RuntimeError):
        p.release([held[0], free])  # one of them is free: the other keeps its holder
    assert p.refs[held].tolist() == [1, 1]
    p.check()


def test_f01_f02_a_block_that_is_named_twice_counts_twice_and_is_free_once() -> None:
    p = pool()
    (block,) = p.allocate(1)
    p.retain([block, block])
    assert p.refs[block] == 3
    assert p.release([block, block]) == 0 and p.refs[block] == 1
    p.retain([block])
    assert p.release([block, block]) == 1 and p.free == 3
    p.check()


def test_f12_what_is_not_there_cannot_be_held() -> None:
    kv = KVCache(pool())
    span = Span(0, View(), [1, 2])
    kv.grow(span, 2)
    span.written = 1
    with pytest.raises(RuntimeError, match="only 1 of its tokens are there"):
        kv.hold((span.whole(),))
    assert kv.pool.refs.tolist().count(1) == 2


def test_f09_allocation_is_all_or_nothing() -> None:
    p = pool()
    p.allocate(2)
    with pytest.raises(PoolFull, match="2 blocks wanted, 1 of 3 free"):
        p.allocate(2)
    assert p.free == 1
    p.check()
    assert p.allocate(0) == []


def test_f10_f15_a_span_that_cannot_grow_keeps_what_it_had() -> None:
    kv = KVCache(pool())
    first, second = Span(0, View(), range(9)), Span(0, View(), range(9))
    kv.grow(first, 2)
    with pytest.raises(PoolFull):
        kv.grow(second, 2)
    assert second.blocks == []
    kv.grow(second, 1)
    assert len({*first.blocks, *second.blocks}) == 3


@pytest.mark.parametrize("blocks, size", [(0, 1), (1, 0), (-1, 4)])
def test_a_pool_of_nothing_is_refused(blocks: int, size: int) -> None:
    with pytest.raises(ValueError, match="a pool needs blocks"):
        pool(blocks, size)


@given(st.lists(st.tuples(st.sampled_from(("allocate", "retain", "release")), st.integers(0, 7)), max_size=40))
def test_f02_f03_f08_the_pool_is_a_counter_of_holders(calls: list[tuple[str, int]]) -> None:
    p, model = pool(8), Counter[int]()
    for name, number in calls:
        held = sorted(model)
        if name == "allocate":
            if number > p.free:
                with pytest.raises(PoolFull):
                    p.allocate(number)
            else:
                taken = p.allocate(number)
                assert not set(taken) & set(model)
                model.update(taken)
        elif name == "retain":
            p.retain(held[number:])
            model.update(held[number:])
        else:
            gone = held[number:]
            model.subtract(gone)
            assert p.release(gone) == sum(model[b] == 0 for b in gone)
            model += Counter()
        p.check()
        assert p.free == 8 - len(model)
        assert {b: int(n) for b, n in enumerate(p.refs) if n} == dict(model)


@pytest.mark.parametrize("damage", ["twice on the list", "lost", "free but held"])
def test_f01_f02_f03_check_notices_a_corrupt_free_list(damage: str) -> None:
    p = pool()
    p.allocate(1)
    if damage == "twice on the list":
        p._free.append(p._free[0])
    elif damage == "lost":
        p._free.pop()
    else:
        p.refs[p._free[0]] = 1
    with pytest.raises(AssertionError, match="disagree"):
        p.check()


class Small:
    """Two writers of causal spans and one reader, over three blocks of one token: pure bookkeeping."""

    def __init__(self) -> None:
        self.kv = KVCache(pool())
        self.open: dict[str, Span] = {}
        self.read: list[Piece] = []

    def write(self, who: str, token: int) -> None:
        """One more token; the scheduler lets the writer go if there is no room."""
        span = self.open.setdefault(who, Span(0, View()))
        if not span.tokens and (view := self.kv.match([1, 2, 0])):
            self.kv.hold(view)
            self.read.extend(view)
        try:
            self.kv.grow(span, span.written + 1)
        except PoolFull:
            return
        span.tokens.append(token)
        assert self.kv.slots([(span, span.written, span.written + 1)])
        span.written += 1

    def fork(self, who: str) -> None:
        """Its span is sealed: a reader holds it from now on, and the cache is offered it."""
        if span := self.open.pop(who, None):
            self.read.extend(View((span.whole(),)))  # the open span's holding becomes the reader's
            self.kv.remember(View((span.whole(),)))

    def end(self, who: str) -> None:
        if span := self.open.pop(who, None):
            self.kv.remember(View((Piece(span, 0, span.written),)))
            self.kv.drop_open(span)

    def leave(self) -> None:
        if self.read:
            self.kv.drop([self.read.pop()])

    def evict(self) -> None:
        self.kv.make_room(min(self.kv.available, self.kv.pool.free + 1))

    def do(self, name: str) -> None:
        match name.split():
            case [who, token] if token.isdigit():
                self.write(who, int(token))
            case ["fork", who]:
                self.fork(who)
            case ["end", who]:
                self.end(who)
            case ["leave"]:
                self.leave()
            case ["evict"]:
                self.evict()
            case _:
                self.kv.flush()

    def can(self, name: str) -> bool:
        """Whether that does anything now."""
        match name.split():
            case ["fork" | "end", who]:
                return who in self.open
            case ["leave"]:
                return bool(self.read)
            case ["evict"]:
                return self.kv.reclaimable > 0
            case ["flush"]:
                return any(node.piece is not None for node in self.kv.tree)
        return True

    def check(self) -> None:
        self.kv.check(self.read, self.open.values())
        held = {b for piece in self.read for b in self.kv.blocks(piece)}
        held |= {b for span in self.open.values() for b in span.blocks}
        assert held.isdisjoint(self.kv.pool._free), "something referenced is free"
        used = len(held)
        assert used + self.kv.reclaimable + self.kv.pool.free == 3, "free, cached and used partition the pool"


MOVES = ("a 1", "a 2", "b 1", "fork a", "end a", "end b", "leave", "evict", "flush")


def every_life(length: int, moves: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Small]]:
    """All sequences of up to ``length`` moves that do something: one that does nothing leaves a shorter sequence."""
    world = Small()
    for move in moves:
        world.do(move)
    following = [move for move in MOVES if len(moves) < length and world.can(move)]
    yield moves, world
    for move in following:
        yield from every_life(length, (*moves, move))


def test_f04_f06_every_short_life_of_spans_in_three_blocks_keeps_the_books() -> None:
    """Bounded exhaustive, the books recounted after each of up to five moves."""
    for moves, world in every_life(5):
        world.check()
        world.end("a")
        world.end("b")
        while world.read:
            world.leave()
        world.kv.flush()
        assert world.kv.pool.free == 3, moves


def test_a_move_that_is_left_out_does_nothing() -> None:
    for _, world in every_life(3):
        for move in MOVES:
            if not world.can(move):
                before = copy.deepcopy(world)
                world.do(move)
                assert state(world) == state(before), move


def state(world: Small) -> list[object]:
    """All that a later move can depend on, but for which object is which."""
    kv = world.kv
    spans = [(who, span.tokens, span.blocks, span.written) for who, span in world.open.items()]
    read = [(piece.start, piece.stop, piece.span.tokens, piece.span.blocks) for piece in world.read]
    cached = [(node.piece.start, node.piece.stop, node.piece.span.blocks) for node in kv.tree if node.piece is not None]
    return [spans, read, cached, kv.pool.refs.tolist(), list(kv.pool._free), kv._tree_refs.tolist()]
