"""Forking costs nothing, shares what was written, and shares nothing else."""

from __future__ import annotations

import pytest
import torch
from helpers import assert_nothing_held, distance, ids, make_engine, release_all, small_model, tree
from shadow import Shadow

from miniapr.engine import operations as op
from miniapr.engine.branch import Limits
from miniapr.engine.joins import message
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling
from miniapr.ops import Operations

WARM = Sampling(temperature=1.0, seed=11)
PROMPT = (1, 2, 3, 4, 5)


@pytest.mark.parametrize("sampling", [Sampling(), WARM], ids=["greedy", "sampled"])
def test_f24_fork_of_one_is_no_fork(backend: Operations, sampling: Sampling) -> None:
    """Bit for bit in its first logits. (At T > 0 a child draws from a generator of its own.)"""
    forked, plain = make_engine(backend=backend), make_engine(backend=backend)
    root, single = forked.start(PROMPT, sampling), plain.start(PROMPT, sampling)
    (child,) = forked.fork(forked.settle(root), 1)
    assert torch.equal(child.logits, plain.settle(single).logits)
    if not sampling.temperature:
        forked.decode([child], max_tokens=5)
        plain.decode([single], max_tokens=5)
    else:
        tokens = [7, 8, 9, 1, 2]
        forked.extend(child, tokens)
        plain.extend(single, tokens)
    assert child.history == single.history
    assert distance(forked.settle(child).logits, plain.settle(single).logits) < 1e-10


@pytest.mark.parametrize("block_size", [1, 2, 3, 16])
@pytest.mark.parametrize("length", range(1, 8))
def test_f20_f21_f22_children_never_write_where_the_parent_did_at_any_fill_of_its_last_block(
    block_size: int, length: int
) -> None:
    engine = make_engine(block_size=block_size, num_blocks=200)
    root = engine.settle(engine.start([1] * length))
    children = engine.fork(root, [[2], [3], []])
    blocks = [b for piece in root.view for b in engine.kv.blocks(piece)]
    before = engine.pool.k_cache[:, blocks].clone()
    engine.decode(children, max_tokens=4)
    engine.check()
    assert torch.equal(before.nan_to_num(7.0), engine.pool.k_cache[:, blocks].nan_to_num(7.0))
    for child in children:
        shadow = Shadow().append(child.history)
        assert distance(engine.settle(child).logits, shadow.logits(small_model())) < 1e-10


def test_forking_computes_nothing_copies_nothing_and_takes_no_block() -> None:
    engine = make_engine()
    root = engine.settle(engine.start(PROMPT))
    free, cost = engine.pool.free, root.request.cost.prefilled
    engine.fork(root, 5)
    assert engine.pool.free == free
    assert root.request.cost.prefilled == cost
    assert root.request.cost.reused == 5 * len(PROMPT)
    assert root.request.cost.bytes_moved == 0


def test_f08_three_hundred_children_of_one_prefix() -> None:
    engine = make_engine(num_blocks=320)
    root = engine.start(PROMPT, limits=Limits(width=300))
    children = engine.fork(engine.settle(root), 300)
    engine.check()
    assert engine.pool.refs.max() >= 300
    engine.decode(children[:3], max_tokens=2)
    release_all(engine, [root])
    assert_nothing_held(engine)


def test_f26_m6_children_differ_at_a_temperature_and_agree_without_and_a_run_repeats() -> None:
    def say(temperature: float, seed: int = 0) -> list[list[int]]:
        _, children = tree(make_engine(), 4, tokens=8, sampling=Sampling(temperature=temperature, seed=seed))
        return [ids(child) for child in children]

    cold, warm = say(0.0), say(1.0)
    assert cold == [cold[0]] * 4
    assert len({tuple(tokens) for tokens in warm}) == 4
    assert warm == say(1.0)
    assert warm != say(1.0, seed=1)


def test_f26_a_second_fork_gives_other_children_than_the_first() -> None:
    engine = make_engine()
    root, first = tree(engine, 2, tokens=8, sampling=WARM)
    for branch in first:
        engine.release(branch)
    second = engine.fork(root, 2)
    engine.decode(second, max_tokens=8)
    assert len({tuple(ids(branch)) for branch in (*first, *second)}) == 4


def test_f29_what_one_child_draws_and_stops_at_is_its_own() -> None:
    """A child's tokens do not depend on whether, how far and under which stops its sibling decodes."""
    _, both = tree(make_engine(), 2, tokens=6, sampling=WARM)
    engine = make_engine()
    _, children = tree(engine, 2, tokens=0, sampling=WARM)
    engine.decode([children[1]], max_tokens=6)
    engine.decode([children[0]], max_tokens=2)
    engine.decode([children[0]], max_tokens=4, stop="~")
    assert [ids(child) for child in children] == [ids(child) for child in both]


def test_releasing_all_children_leaves_the_parent_untouched() -> None:
    engine = make_engine(block_size=2)
    root, children = tree(engine, [[1], [2, 3]], prompt=PROMPT)
    logits = root.logits
    for child in children:
        engine.release(child)
        engine.release(child)
    engine.check()
    assert torch.equal(root.logits, logits)
    (plain := make_engine()).decode([single := plain.start(PROMPT)], max_tokens=5)
    engine.decode([root], max_tokens=5)
    assert root.history == single.history
    assert distance(engine.settle(root).logits, plain.settle(single).logits) < 1e-10
    assert engine.release(root) is None
    assert_nothing_held(engine)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_nested_forks_see_their_ancestors_only(depth: int) -> None:
    engine = make_engine(block_size=2, num_blocks=100)
    branch = engine.start(PROMPT)
    for level in range(depth):
        branch, other = engine.fork(engine.settle(branch), [[level + 6], [20]])
        engine.decode([branch, other], max_tokens=2)
    shadow = Shadow().append(branch.history)
    assert distance(engine.settle(branch).logits, shadow.logits(small_model())) < 1e-10
    assert branch.position == len(branch.history)
    assert branch.depth == depth


def test_f27_a_fork_is_whole_or_not_at_all() -> None:
    engine = make_engine()
    root = engine.settle(engine.start(PROMPT))
    for seeds, why in [([[1], [10_000]], "vocabulary"), ([[1], [2] * 400], "context")]:
        with pytest.raises(ValueError, match=why):
            engine.fork(root, seeds)
        engine.check()
        assert not root.children
        assert len(root.request.branches) == 1
    assert len(engine.fork(root, [[1], [2]])) == 2


def test_f28_m5_forks_of_no_one_and_equal_branches_width_and_depth_have_defined_results() -> None:
    engine = make_engine()
    root = engine.start(PROMPT, limits=Limits(width=2, depth=1))
    with pytest.raises(ValueError, match="3 branches asked for, the limit on width is 2"):
        engine.fork(root, 3)
    for none in (0, -5, []):
        with pytest.raises(ValueError, match="at least one branch"):
            engine.fork(root, none)
        engine.check()
    twins = engine.fork(root, [[1, 2], [1, 2]])  # before the prompt is computed: the fork waits for it
    assert root.logits is not None
    engine.decode(twins, max_tokens=3)
    assert ids(twins[0]) == ids(twins[1])
    with pytest.raises(ValueError, match="1 forks deep, the limit is 1"):
        engine.fork(twins[0], 2)
    engine.check()
    engine.decode(twins, max_tokens=1)


def test_f34_a_parent_preempted_while_it_waits_comes_back_with_its_children() -> None:
    engine = make_engine(block_size=2)
    root, children = tree(engine, 2, sampling=WARM, tokens=2)
    engine.scheduler.preempt(root.request)
    engine.kv.flush()
    engine.decode(children, max_tokens=4)
    _, plain = tree(make_engine(), 2, sampling=WARM, tokens=6)
    assert [ids(child) for child in children] == [ids(child) for child in plain]


def test_f48_three_counters_per_branch_per_tree_and_along_the_longest_path() -> None:
    engine = make_engine()
    root, (left, right) = tree(engine, 2, tokens=0)
    engine.decode([left], max_tokens=2)
    engine.decode([right], max_tokens=5)
    joined = engine.join(root, [left, right], "stitch", then=[1])
    engine.decode([joined], max_tokens=3)
    assert (len(ids(left)), len(ids(right)), len(ids(root))) == (2, 5, 3)
    assert root.request.cost.decoded == 10
    assert root.critical == 8
    assert root.position == 3 + 5 + 1 + 3


def test_f48_the_limit_of_a_tree_counts_all_its_branches_and_the_context_counts_positions() -> None:
    engine = make_engine()
    root = engine.start(PROMPT, limits=Limits(tokens=5))
    children = engine.fork(root, 2)
    done = engine.decode(children, max_tokens=50)
    assert root.request.cost.decoded in (5, 6)  # a step decodes both
    assert {c.finish for c in done} == {"length"}
    short = make_engine(small_model(context=8))
    (done,) = short.decode([branch := short.start(PROMPT)], max_tokens=50)
    assert done.finish == "context"
    assert branch.position == 8


def test_a_parent_that_has_forked_waits() -> None:
    engine = make_engine()
    root, children = tree(engine, 2)
    for use in (lambda: engine.decode([root]), lambda: engine.extend(root, [1]), lambda: engine.fork(root, 2)):
        with pytest.raises(ValueError, match="has forked: join or release"):
            use()
        engine.check()
    engine.release(children[0])
    with pytest.raises(ValueError, match="released"):
        engine.decode([children[0]])
    engine.decode([children[1]], max_tokens=1)


def test_f49_errors_of_an_operation_reach_the_program_and_no_one_else() -> None:
    def stumbles() -> Program:
        root = yield op.Start(PROMPT)
        try:
            yield op.Join(root, [root])
        except ValueError as error:
            caught = str(error)
        (completion,) = yield op.Decode([root], max_tokens=2)
        return caught, len(completion.tokens)

    def falls() -> Program:
        yield op.Start(PROMPT)
        raise KeyError("a program's own mistake")

    engine = make_engine()
    good, bad = engine.submit(stumbles()), engine.submit(falls())
    for _ in range(20):
        engine.step()
        engine.check()
    assert "not a child" in good.task.value[0]
    assert good.task.value[1] == 2
    assert isinstance(bad.error, KeyError)
    assert_nothing_held(engine)


def test_branches_of_another_request_are_refused() -> None:
    engine = make_engine()
    one, other = engine.start(PROMPT), engine.start(PROMPT)
    with pytest.raises(ValueError, match="belongs to request"):
        engine.decode([one, other])
    with pytest.raises(ValueError, match="twice"):
        engine.decode([one, one])
    with pytest.raises(ValueError, match="negative"):
        engine.decode([one], max_tokens=-1)
    engine.decode([one], max_tokens=1)
    engine.decode([other], max_tokens=1)


def test_two_engines_share_a_model_and_nothing_else() -> None:
    first, second = make_engine(), make_engine(block_size=2)
    root, _ = tree(first, 2, sampling=WARM)
    other_root, others = tree(second, 2, sampling=WARM)
    first.release(root)
    second.decode(others, max_tokens=2)
    _, plain = tree(make_engine(), 2, sampling=WARM, tokens=5)
    assert [ids(b) for b in others] == [ids(b) for b in plain]
    second.check()
    assert other_root.state == "alive"


# With less than all


@pytest.mark.parametrize("keep", range(6))
def test_a_child_that_is_given_less_is_the_plain_prompt_of_that(backend: Operations, keep: int) -> None:
    engine = make_engine(backend=backend)
    root = engine.settle(engine.start(PROMPT))
    computed = root.request.cost.prefilled
    for child, seed in zip(engine.fork(root, [[7], [8, 9]], keep=keep), ([7], [8, 9]), strict=True):
        assert (child.history, child.tokens, child.born_at) == ([*PROMPT[:keep], *seed], seed, keep)
        logits = Shadow().append(child.history).logits(small_model())
        assert distance(engine.settle(child).logits, logits) < 1e-10
    assert root.request.cost.prefilled == computed + 3, "what they are given is there already"
    assert root.request.largest_context == max(len(PROMPT), keep + 2)


def test_a_child_that_is_given_less_needs_a_seed_and_cannot_be_given_more_than_there_is() -> None:
    engine = make_engine()
    root = engine.settle(engine.start(PROMPT))
    with pytest.raises(ValueError, match="no logits after 2 tokens"):
        engine.fork(root, [[1], []], keep=2)
    with pytest.raises(ValueError, match="cannot keep 6 tokens: branch 0 has 5"):
        engine.fork(root, [[1]], keep=6)
    with pytest.raises(ValueError, match="cannot keep -1"):
        engine.fork(root, [[1]], keep=-1)
    assert root.position == 5 and not root.children
    engine.decode(engine.fork(root, 1, keep=5), max_tokens=1)  # all of it


def test_f64_contexts_of_their_own_are_stitched_by_nobody_whatever_the_cache_knows() -> None:
    """Both begin as the root did; whether their first tokens are the root's very own depends on the cache."""
    for reuse in (True, False):
        engine = make_engine(reuse_prefixes=reuse)
        root = engine.settle(engine.start(PROMPT))
        children = engine.fork(root, [[*PROMPT, 7], [*PROMPT, 8]], keep=0)
        engine.decode(children, max_tokens=2)
        assert (root.request.cost.prefilled < 3 * len(PROMPT)) == reuse
        for how in ("stitch", "stitch_contiguous", "stitch_copied"):
            with pytest.raises(ValueError, match="branch 1 was given none of its parent's tokens"):
                engine.join(root, children, how, [4])
        beside = engine.join(root, children, "reprefill", [4], keep=True)
        assert beside.history == [*PROMPT, *children[0].history, *children[1].history, 4]
        chosen = engine.join(root, children[1:], "select", [4])
        assert chosen.history[:6] == [*PROMPT, 8] and chosen.position == 9
        engine.check()


def test_a_call_in_a_call_returns_as_text_and_nobody_attends_to_more_than_its_own_context() -> None:
    """Recursion: what is called sees its own prompt only, whatever its callers have written."""
    engine = make_engine()
    root = engine.settle(engine.start([1] * 20))
    (outer,) = engine.fork(root, [[2] * 12], keep=0)
    (inner,) = engine.fork(engine.settle(outer), [[3] * 4], keep=0)
    engine.settle(inner)
    outer = engine.join(outer, [inner], message([5, 6]))
    root = engine.join(root, [outer], message([7]))
    assert root.history == [1] * 20 + [7] and engine.settle(root).position == 21
    assert root.request.largest_context == 21
    assert distance(root.logits, Shadow().append(root.history).logits(small_model())) < 1e-10
