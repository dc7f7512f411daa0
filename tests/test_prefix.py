"""The prefix cache: what it finds is what was computed, and nothing else ever gets in."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import assert_nothing_held, distance, make_engine, plain_logits, poison, small_model, tree
from hypothesis import given
from hypothesis import strategies as st

from miniapr.engine import operations as op
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program
from miniapr.kv.prefix import PrefixTree
from miniapr.kv.span import Span, View
from miniapr.model.decoder import Decoder
from miniapr.ops import reference

PROMPT = [1, 2, 3, 4, 5, 6, 7]
words = st.lists(st.integers(0, 2), min_size=1, max_size=7)


def logits_of(engine: Engine, prompt: list[int]) -> torch.Tensor:
    """Of a prompt that comes and goes."""
    root = engine.settle(engine.start(prompt))
    logits = root.logits.clone()
    engine.release(root)
    return logits


def hits(engine: Engine) -> list[int]:
    return [event.data["cached"] for event in engine.events if event.kind == "cached"]


@given(st.lists(words, max_size=8), words)
def test_f16_a_match_is_the_longest_known_beginning_by_the_tokens_themselves(
    known: list[list[int]], asked: list[int]
) -> None:
    prefixes = PrefixTree()
    for word in known:
        prefixes.insert([Span(0, View(), word).whole()])
    found = prefixes.match(asked)
    tokens = [token for piece in found for token in piece.tokens]
    assert tokens == asked[: len(tokens)]
    # At least as long as any single span's agreement would be if it had been inserted alone and first.
    first = known[:1] or [[]]
    common = next((i for i, pair in enumerate(zip(first[0], asked, strict=False)) if pair[0] != pair[1]), None)
    assert len(tokens) >= (min(len(first[0]), len(asked)) if common is None else common)


@given(st.lists(words, max_size=8))
def test_f07_what_is_held_is_exactly_what_the_tree_lists(known: list[list[int]]) -> None:
    prefixes, held = PrefixTree(), []
    for word in known:
        hold, drop = prefixes.insert([Span(0, View(), word).whole()])
        held.extend(hold)
        for piece in drop:
            held.remove(piece)
    assert sorted(map(id, (p.span for p in held))) == sorted(id(node.piece.span) for node in prefixes)
    assert sorted((p.start, p.stop) for p in held) == sorted((n.piece.start, n.piece.stop) for n in prefixes)


@pytest.mark.parametrize("block_size", [1, 2, 3, 16])
@pytest.mark.parametrize("length", range(1, 8))
def test_f13_f19_f21_a_prompt_met_again_at_any_length_gives_the_same_logits(block_size: int, length: int) -> None:
    """Also where it fills its blocks exactly and all of it is known: one token is still computed."""
    engine = make_engine(block_size=block_size)
    logits_of(engine, PROMPT)
    again = logits_of(engine, PROMPT[:length])
    assert distance(again, plain_logits(small_model(), PROMPT[:length])) < 1e-10
    root = engine.settle(engine.start([*PROMPT, 9]))
    assert distance(root.logits, plain_logits(small_model(), [*PROMPT, 9])) < 1e-10
    assert hits(engine)[-1:] == [len(PROMPT)]
    assert root.request.cost.prefilled == 1


def settled(prompt: list[int]) -> Program:
    root = yield op.Start(prompt)
    yield op.Settle([root])
    return root.logits.clone()


def test_f12_equal_prompts_in_one_batch_do_not_read_what_is_not_yet_written() -> None:
    engine = make_engine(block_size=2)
    requests = [engine.submit(settled(PROMPT)) for _ in range(3)]
    for _ in range(3):
        engine.step()
        engine.check()
    assert [e.data["rows"] for e in engine.events if e.kind == "step"] == [3 * len(PROMPT)], "all in one batch"
    assert hits(engine) == []
    for request in requests:
        assert distance(request.task.value, plain_logits(small_model(), PROMPT)) < 1e-10
    assert distance(engine.run(settled(PROMPT)), plain_logits(small_model(), PROMPT)) < 1e-10
    assert hits(engine) == [len(PROMPT) - 1]


def test_f11_after_eviction_nothing_is_found_and_nothing_stale_is_read() -> None:
    engine = make_engine(block_size=2)
    logits_of(engine, PROMPT)
    assert len(engine.kv.match(PROMPT)) == len(PROMPT) - 1
    engine.kv.make_room(len(engine.pool))
    poison(engine)
    assert len(engine.kv.match(PROMPT)) == 0
    assert distance(logits_of(engine, [8, *PROMPT]), plain_logits(small_model(), [8, *PROMPT])) < 1e-10
    assert distance(logits_of(engine, PROMPT), plain_logits(small_model(), PROMPT)) < 1e-10
    assert hits(engine) == []


@pytest.mark.parametrize("evicted", range(1, 6))
def test_f11_f19_a_partly_evicted_prefix_is_found_as_far_as_it_is_there(evicted: int) -> None:
    engine = make_engine(block_size=1, num_blocks=12)
    logits_of(engine, PROMPT[:3])
    logits_of(engine, PROMPT)
    engine.kv.make_room(engine.pool.free + evicted)
    poison(engine)
    assert len(engine.kv.match([*PROMPT, 9])) < len(PROMPT)
    assert distance(logits_of(engine, [*PROMPT, 9]), plain_logits(small_model(), [*PROMPT, 9])) < 1e-10


def test_f15_room_is_not_made_by_evicting_what_was_just_found() -> None:
    """The pool is full of two prefixes; the one that is asked for again is older than the other."""
    engine = make_engine(block_size=1, num_blocks=12)
    logits_of(engine, PROMPT[:5])
    logits_of(engine, [8, 9, 10, 11, 12])
    root = engine.settle(engine.start([*PROMPT[:5], 20, 21, 22, 23]))
    assert hits(engine) == [5]
    assert root.request.cost.prefilled == 4
    assert distance(root.logits, plain_logits(small_model(), root.history)) < 1e-10


def stitched_with(root_seeds: list[list[int]]) -> tuple[Engine, list[int]]:
    engine = make_engine(block_size=1, num_blocks=100)
    root, branches = tree(engine, root_seeds)
    joined = engine.settle(engine.join(root, branches, "stitch", then=[4, 2]))
    return engine, joined.history


def test_f17_m3_stitched_keys_never_enter_the_prefix_cache() -> None:
    engine, text = stitched_with([[1], [2, 3]])
    engine.release(engine.scheduler.requests[0].alive[0])
    again = logits_of(engine, [*text, 5])
    assert distance(again, plain_logits(small_model(), [*text, 5])) < 1e-10
    first_child = 3 + 1 + 3
    assert hits(engine) in ([first_child], [first_child - 1]), "its causal beginning alone may be reused"


def test_f17_m3_control_a_stitched_view_in_the_cache_would_be_wrong() -> None:
    """What the guard is for: insert the view by hand, as if it were causal, and the next request is wrong."""
    engine, text = stitched_with([[1], [2, 3]])
    (joined,) = engine.scheduler.requests[0].alive
    hold, _ = engine.kv.tree.insert([*joined.view, joined.span.whole()])
    engine.kv.hold(hold)
    again = logits_of(engine, [*text, 5])
    assert distance(again, plain_logits(small_model(), [*text, 5])) > 1e-3


def test_f18_a_change_of_weights_needs_a_flush() -> None:
    model: Decoder = copy.deepcopy(small_model())
    engine = make_engine(model, reference)  # which reads the weights as they are
    logits_of(engine, PROMPT)
    for weight in model.parameters():
        weight.mul_(1.3)
    stale = logits_of(engine, PROMPT)
    assert distance(stale, plain_logits(model, PROMPT)) > 1e-6, "control: old keys are not those of the new weights"
    engine.kv.flush()
    assert distance(logits_of(engine, PROMPT), plain_logits(model, PROMPT)) < 1e-10
    assert_nothing_held(engine)


def test_f20_a_reader_of_a_prefix_never_changes_it() -> None:
    engine = make_engine(block_size=2)
    logits_of(engine, PROMPT)
    nodes = [(node, engine.kv.blocks(node.piece)) for node in engine.kv.tree]
    before = [engine.pool.k_cache[:, blocks].clone().nan_to_num(7.0) for _, blocks in nodes]
    for tail in ([], [9], [9, 9]):
        root = engine.start([*PROMPT[:4], *tail, 8])
        engine.decode([root], max_tokens=3)
    for (_, blocks), bytes_before in zip(nodes, before, strict=True):
        assert torch.equal(engine.pool.k_cache[:, blocks].nan_to_num(7.0), bytes_before)


def test_f04_f06_spans_that_begin_alike_and_a_leaf_that_is_read_below_one_that_is_not() -> None:
    """Two computed the same beginning at the same time; the cache holds the first's, below it the second's rest."""
    engine = make_engine(block_size=1, num_blocks=16, reuse_prefixes=True)
    root, twins = tree(engine, 2, prompt=(1, 2), tokens=3)  # greedy: they say the same
    (inner,) = engine.fork(engine.settle(twins[1]), [[9, 9]])
    engine.settle(inner)
    engine.release(twins[0])
    engine.check()
    for blocks in range(engine.kv.available + 1):
        engine.kv.make_room(blocks)
        engine.check()
        poison(engine)
    engine.extend(inner, [3])
    assert distance(engine.settle(inner).logits, plain_logits(small_model(), inner.history)) < 1e-10
    engine.release(root)
    assert_nothing_held(engine)
