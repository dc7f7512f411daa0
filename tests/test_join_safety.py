"""The joins pin what they read, compute again what is gone, and refuse what does not belong together."""

from __future__ import annotations

import pytest
import torch
from helpers import (
    JOINS,
    assert_nothing_held,
    dense_logits,
    distance,
    join,
    make_engine,
    poison,
    release_all,
    small_model,
    tree,
)

from miniapr.engine.branching import _check_distinct
from miniapr.engine.joins import message
from miniapr.kv.span import Piece, Span, View


@pytest.mark.parametrize("how", JOINS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_f59_m1_m2_a_join_of_evicted_branches_computes_them_again_first(how: str, after: bool) -> None:
    expected_root, expected = tree(plain := make_engine(), [[1], [2, 3]])
    want = join(plain, expected_root, expected, how, keep=False).logits
    engine = make_engine(block_size=2)
    root, branches = tree(engine, [[1], [2, 3]])
    if after:
        engine.join(root, branches, how, then=[4, 2])
    engine.scheduler.preempt(root.request)
    engine.kv.flush()
    poison(engine)  # everything: whatever is used must be computed again
    assert engine.pool.free == len(engine.pool)
    joined = engine.settle(root) if after else join(engine, root, branches, how, keep=False)
    assert distance(joined.logits, want) < 1e-10
    assert joined.request.cost.recomputed > 0
    release_all(engine, [root])
    assert_nothing_held(engine)


def test_f17_f59_every_branch_of_a_join_stays_pinned_while_the_cache_is_emptied() -> None:
    engine = make_engine(block_size=2)
    root, branches = tree(engine, [[1], [2, 3]])
    joined = engine.join(root, branches, "stitch", then=[4, 2])
    engine.kv.make_room(engine.kv.available)
    poison(engine)
    assert distance(engine.settle(joined).logits, dense_logits(joined)) < 1e-10


def test_f58_moving_a_copy_leaves_the_original_as_it_was() -> None:
    engine = make_engine(block_size=2)
    root, branches = tree(engine, [[1], [2, 3]])
    for branch in branches:
        engine.settle(branch)
    pieces = [piece for branch in branches for piece in branch.own]
    blocks = [b for piece in pieces for b in engine.kv.blocks(piece)]
    before = engine.pool.k_cache[:, blocks].clone()
    join(engine, root, branches, "stitch_copied")
    assert torch.equal(before.nan_to_num(7.0), engine.pool.k_cache[:, blocks].nan_to_num(7.0))
    again = join(engine, root, branches, "stitch")
    assert distance(again.logits, dense_logits(again)) < 1e-10


def test_f63_the_last_sampled_token_is_part_of_the_join() -> None:
    """Its key is not in the pool when a branch stops: the join computes it, it does not drop it."""
    engine = make_engine()
    root, branches = tree(engine, [[1], [2, 3]])
    assert all(branch.span.behind == 1 for branch in branches)
    joined = join(engine, root, branches, "stitch")
    assert joined.history == root.history[:3] + [t for b in branches for t in b.tokens] + [4, 2]
    assert sum(len(piece) for piece in joined.view) == len(joined.history) - 2
    assert all(piece.stop <= piece.span.written for piece in joined.view)


# What they refuse


def test_joins_of_branches_that_do_not_belong_together_are_refused_and_nothing_is_lost() -> None:
    engine = make_engine()
    root, (left, right) = tree(engine, [[1], [2, 3]])
    stranger = engine.start([1, 2])
    inner = engine.fork(engine.settle(right), 2)
    for branches, how, why in [
        ([], "stitch", "at least one"),
        ([left, left], "stitch", "twice"),
        ([left], "weld", "weld"),
        ([stranger], "stitch", "not a child"),
        ([inner[0]], "stitch", "not a child"),
        ([right], "stitch", "has forked"),
        ([left], message([1], keep=99), "keep 99"),
    ]:
        with pytest.raises(ValueError, match=why):
            engine.join(root, branches, how, then=[1])
        engine.check()
    with pytest.raises(ValueError, match="from one branch, 2 were given"):
        engine.join(right, inner, "select")
    engine.join(right, inner, "stitch", then=[4])
    with pytest.raises(ValueError, match="was joined"):
        engine.join(right, inner, "stitch", then=[4])
    with pytest.raises(ValueError, match="no token to go on from"):
        engine.join(root, [left, right], "stitch")
    joined = join(engine, root, [left, right], "stitch", keep=False)
    assert distance(joined.logits, dense_logits(joined)) < 1e-10
    with pytest.raises(ValueError, match="was joined"):
        engine.decode([left])
    release_all(engine, [root, stranger])
    assert_nothing_held(engine)


def test_two_joins_of_the_same_branches_cannot_be_joined_with_each_other() -> None:
    engine = make_engine()
    root = engine.settle(engine.start([1, 2, 3]))
    (outer,) = engine.fork(root, [[1]])
    inner = engine.fork(engine.settle(outer), [[4], [5]])
    first, second = (engine.join(outer, inner, "stitch", then=[n], keep=True) for n in (6, 7))
    with pytest.raises(ValueError):
        engine.join(root, [first, second], "stitch", then=[8])
    engine.check()
    joined = engine.settle(engine.join(root, [second], "stitch", then=[8]))
    assert distance(joined.logits, dense_logits(joined)) < 1e-10


def test_a_token_is_seen_twice_whatever_the_order_of_its_pieces() -> None:
    span = Span(0, View(), range(6))
    later, earlier = Piece(span, 3, 5), Piece(span, 0, 3)
    _check_distinct(View((later, earlier)))
    for more in (Piece(span, 2, 4), Piece(span, 4, 6), Piece(span, 3, 5, 7)):
        with pytest.raises(ValueError, match="would be seen twice"):
            _check_distinct(View((later, earlier, more)))


def test_a_message_in_a_branch_cannot_cut_what_its_siblings_share() -> None:
    engine = make_engine()
    root, (left, right) = tree(engine, [[1], [2, 3]])
    inner = engine.fork(engine.settle(left), 2)
    with pytest.raises(ValueError, match="keep"):
        engine.join(left, inner, message([7], keep=1))
    engine.join(left, inner, message([7], keep=len(root.history)))
    joined = join(engine, root, [left, right], "stitch", keep=False)
    assert joined.history == [1, 2, 3, 7, *right.tokens, 4, 2]
    assert distance(joined.logits, dense_logits(joined)) < 1e-10


def test_a_failed_join_by_position_or_context_leaves_both_branches_intact() -> None:
    engine = make_engine(small_model(context=12))
    root, branches = tree(engine, [[1], [2, 3]], prompt=(1, 2, 3))
    with pytest.raises(ValueError, match="context of 12"):
        engine.join(root, branches, "reprefill", then=[1, 2])
    engine.check()
    assert [branch.state for branch in branches] == ["alive", "alive"]
    joined = engine.settle(engine.join(root, branches, "stitch", then=[4]))
    assert distance(joined.logits, dense_logits(joined)) < 1e-10
