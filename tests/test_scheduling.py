"""Who is computed when changes nothing: chunks, batches, preemption, admission, aborts."""

from __future__ import annotations

import pytest
from helpers import (
    JOINS,
    Outcome,
    assert_nothing_held,
    distance,
    make_engine,
    plain_logits,
    small_model,
    step_until,
    think,
    thought,
    tree,
)

from miniapr.engine import operations as op
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program, Request
from miniapr.engine.sampling import Sampling
from miniapr.ops import Operations

GREEDY, WARM = Sampling(), Sampling(temperature=1.0, seed=3)


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
@pytest.mark.parametrize("how", JOINS)
@pytest.mark.parametrize(
    "options",
    [
        {"max_batch_tokens": 1},
        {"max_batch_tokens": 2},
        {"block_size": 1, "num_blocks": 200},
        {"block_size": 2, "num_blocks": 100},
        {"block_size": 16},
        {"reuse_prefixes": False},
        {"permute": 5},
        {"record": False},
    ],
    ids=str,
)
def test_f61_f62_chunks_blocks_prefix_cache_and_layout_change_nothing(
    options: dict[str, int], how: str, sampling: Sampling
) -> None:
    assert think(how, sampling).same(think(how, sampling, **options))


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_f12_f36_batch_mates_change_nothing(backend: Operations, sampling: Sampling) -> None:
    engine = make_engine(backend=backend, num_blocks=300)
    mates = [thought((1, 2, 3), "reprefill", sampling), thought((1, 2, 3, 4, 4), "stitch", WARM)]
    first = engine.submit(mates[0])
    requests = [engine.submit(thought((1, 2, 3), how, sampling)) for how in JOINS]
    engine.submit(mates[1])
    step_until(engine)
    for request, how in zip((first, *requests), ("reprefill", *JOINS), strict=True):
        assert think(how, sampling).same(request.task.value)
    assert_nothing_held(engine)


def steps_of(how: str) -> int:
    engine = make_engine()
    engine.run(thought((1, 2, 3), how, WARM))
    return engine.steps


@pytest.mark.parametrize("how", JOINS)
def test_f30_f33_f34_preempting_at_any_step_changes_no_token_and_no_logit(how: str) -> None:
    alone = think(how, WARM)
    for step in range(steps_of(how)):
        engine = make_engine(block_size=2, max_batch_tokens=3)
        request = engine.submit(thought((1, 2, 3), how, WARM))
        for _ in range(step):
            engine.step()
        if request.resident:
            engine.scheduler.preempt(request)
        step_until(engine, request)
        assert request.error is None
        assert alone.same(request.task.value), f"preempted before step {step}"
        assert_nothing_held(engine)


def test_f14_a_preempted_request_may_find_more_or_less_in_the_prefix_cache_when_it_comes_back() -> None:
    engine = make_engine(block_size=2)
    prompt = (1, 2, 3, 4, 5, 6, 7)
    other = engine.start(prompt[:5])
    engine.settle(other)
    for forget in (False, True):
        request = engine.submit(thought(prompt))
        engine.step()
        engine.scheduler.preempt(request)
        if forget:
            engine.release(other)
            engine.kv.flush()
        step_until(engine, request)
        assert think(prompt=prompt).same(request.task.value)


def needs_blocks(engine: Engine, program: Program) -> int:
    """How many blocks a program takes at most when it is alone."""
    engine.run(program)
    return max(event.data["used"] for event in engine.events if event.kind == "step")


@pytest.mark.parametrize("how", JOINS)
@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_f31_f32_f35_several_trees_finish_in_a_pool_that_holds_only_one(how: str, block_size: int) -> None:
    """No livelock, no deadlock among branches that each wait for a block, and the right answers."""
    options = {"block_size": block_size, "reuse_prefixes": False}
    most = needs_blocks(make_engine(num_blocks=200, **options), thought((1, 2, 3), how, WARM))
    engine = make_engine(num_blocks=most + 3, **options)
    requests = [engine.submit(thought((1, 2, 3), how, WARM)) for _ in range(3)]
    step_until(engine)
    assert any(event.kind == "preempted" for event in engine.events)
    for request in requests:
        assert request.error is None
        assert think(how, WARM).same(request.task.value)
    assert_nothing_held(engine)


@pytest.mark.parametrize("room", range(1, 16))
def test_f32_f35_a_tree_that_outgrows_the_pool_gets_an_error_with_the_numbers_and_the_next_one_runs(room: int) -> None:
    """From one block to nearly enough: an error, never a hang, and never a wrong answer."""
    engine = make_engine(num_blocks=room, block_size=2, reuse_prefixes=False)
    request = engine.submit(thought((1, 2, 3)))
    step_until(engine, request)
    if request.error:
        assert isinstance(request.error, ValueError)
        assert f"{room}" in str(request.error)
        assert "blocks" in str(request.error)
    else:
        assert think().same(request.task.value)
    small = engine.submit(small_talk())
    step_until(engine, small)
    assert small.error is None
    assert_nothing_held(engine)


def small_talk() -> Program:
    root = yield op.Start([1])
    yield op.Settle([root])
    return root.logits.clone()


def test_a_prompt_longer_than_the_pool_or_the_context_is_refused_with_the_numbers() -> None:
    engine = make_engine(num_blocks=4, block_size=3)
    with pytest.raises(ValueError, match=r"13 tokens need 5 blocks of 3, the pool has 4"):
        engine.start([1] * 13)
    engine = make_engine(small_model(context=10))
    with pytest.raises(ValueError, match=r"11 tokens .* the context of 10"):
        engine.start([1] * 11)
    with pytest.raises(ValueError, match="vocabulary"):
        engine.start([10_000])
    with pytest.raises(ValueError, match="empty"):
        engine.start([])
    assert_nothing_held(engine)


def test_an_error_by_hand_leaves_the_tree_as_it_was() -> None:
    engine = make_engine(num_blocks=5, block_size=2)
    root = engine.start([1, 2, 3])
    engine.settle(root)
    with pytest.raises(ValueError, match="does not fit"):
        engine.decode([root], max_tokens=30)
    engine.check()
    assert root.state == "alive"
    engine.release(root)
    assert_nothing_held(engine)


def test_idle_trees_give_way_and_come_back_as_they_were() -> None:
    engine = make_engine(num_blocks=14, block_size=2)
    root, branches = tree(engine)
    said = [branch.history for branch in branches]
    engine.run(filler(11))
    assert any(e.kind == "preempted" for e in engine.events)
    joined = engine.settle(engine.join(root, branches, "stitch", then=[4]))
    fresh_root, fresh = tree(other := make_engine())
    expected = other.settle(other.join(fresh_root, fresh, "stitch", then=[4]))
    assert said == [branch.history for branch in fresh]
    assert distance(joined.logits, expected.logits) < 1e-10
    engine.release(root)
    assert_nothing_held(engine)


def test_a_tree_that_somebody_went_back_to_is_not_the_longest_unused() -> None:
    engine = make_engine(num_blocks=14, block_size=2)
    one, other = (engine.settle(engine.start([n, 2, 3])) for n in (1, 2))
    assert list(engine.scheduler.resting.values()) == [one.request, other.request]
    engine.checkout(engine.commit(one))
    assert list(engine.scheduler.resting.values()) == [other.request, one.request]


def filler(blocks: int, block_size: int = 2) -> Program:
    """Something that needs so many blocks at once."""
    root = yield op.Start([0] * (blocks * block_size))
    yield op.Settle([root])


@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
def test_f61_a_prompt_in_chunks_equals_the_whole_prompt(backend: Operations, chunk: int) -> None:
    prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
    engine = make_engine(backend=backend, max_batch_tokens=chunk)
    root = engine.settle(engine.start(prompt))
    assert distance(root.logits, plain_logits(small_model(), prompt)) < 1e-10


# Aborts


def states(engine: Engine, request: Request) -> str:
    return "held" if request.held else "restoring" if request.resident else "waiting"


@pytest.mark.parametrize("how", JOINS)
def test_f38_f39_f40_f42_an_abort_at_any_step_returns_the_pool_to_what_it_was(how: str) -> None:
    seen = set()
    for step in range(steps_of(how) + 1):
        engine = make_engine(block_size=2, max_batch_tokens=3)
        mate = engine.submit(thought((4, 5), how, WARM))
        request = engine.submit(thought((1, 2, 3), how, WARM))
        for _ in range(step):
            engine.step()
        if step % 3 == 2 and request.resident:
            engine.scheduler.preempt(request)
            if step % 2:
                engine.step()
        seen.add(states(engine, request))
        engine.abort(request)
        engine.abort(request)  # twice: nothing more
        engine.check()
        assert request.state == "aborted"
        assert not request.alive
        step_until(engine, mate)
        assert think(how, WARM, (4, 5)).same(mate.task.value)
        assert_nothing_held(engine)
    assert seen >= {"held", "waiting"}


def test_f41_whoever_waits_for_an_aborted_request_is_told() -> None:
    engine = make_engine()
    root, branches = tree(engine)
    engine.abort(root.request)
    for use in (
        lambda: engine.decode(branches),
        lambda: engine.settle(root),
        lambda: engine.join(root, branches),
        lambda: engine.fork(branches[0], 2),
        lambda: engine.extend(branches[0], [1]),
    ):
        with pytest.raises(ValueError, match="aborted"):
            use()
    assert branches[0].tokens, "what it said stays readable"
    assert_nothing_held(engine)


def test_first_come_first_served_and_the_oldest_is_never_preempted_for_a_younger() -> None:
    engine = make_engine(num_blocks=16, block_size=2, reuse_prefixes=False)
    requests = [engine.submit(thought((1, 2, 3), "stitch", WARM)) for _ in range(3)]
    step_until(engine)
    assert not any(e.kind == "preempted" and e.request == requests[0].id for e in engine.events)
    finished = [e.request for e in engine.events if e.kind == "finished"]
    assert finished == sorted(finished)


def test_f31_the_youngest_that_holds_blocks_gives_way() -> None:
    engine = make_engine(num_blocks=24, block_size=2, reuse_prefixes=False)
    for _ in range(4):
        engine.submit(talk([1], 20))
    step_until(engine)
    resident: set[int] = set()
    crowded = False
    for event in engine.events:
        if event.kind == "admitted":
            resident.add(event.request)
        elif event.kind == "preempted":
            assert event.request == max(resident)
            crowded |= len(resident) > 2
            resident.remove(event.request)
        elif event.kind == "finished":
            resident.discard(event.request)
    assert crowded, "control: there was somebody between the oldest and the youngest"


def talk(prompt: list[int], tokens: int) -> Program:
    root = yield op.Start(prompt)
    yield op.Decode([root], max_tokens=tokens)


def test_a_step_has_at_most_so_many_tokens_and_a_long_prompt_holds_up_nobody_who_decodes() -> None:
    engine = make_engine(max_batch_tokens=3)
    long, short = engine.submit(talk([1] * 30, 1)), engine.submit(talk([2], 6))
    step_until(engine, short)
    assert long.state == "running"
    step_until(engine)
    assert max(e.data["rows"] for e in engine.events if e.kind == "step") == 3


def test_nobody_is_let_in_who_would_be_out_at_once() -> None:
    engine = make_engine(num_blocks=7, block_size=2, reuse_prefixes=False)
    first = engine.submit(talk([1] * 8, 4))
    engine.step()
    second = engine.submit(talk([2] * 8, 4))  # three blocks are free, it needs four
    step_until(engine)
    assert not any(event.kind == "preempted" for event in engine.events)
    assert (first.error, second.error) == (None, None)


def test_many_requests_leave_nothing_behind() -> None:
    """A short soak: queues, hits, evictions and preemptions, and the pool is whole again after every wave."""
    engine = make_engine(num_blocks=40, block_size=2, record=False)
    expected: dict[tuple[int, str], Outcome] = {}
    for wave in range(6):
        wanted = {}
        for number in range(6):
            key = (number % 3 + 1, JOINS[(wave + number) % 4])
            wanted[engine.submit(thought((1,) * key[0], key[1], WARM))] = key
        step_until(engine)
        for request, key in wanted.items():
            expected.setdefault(key, think(key[1], WARM, (1,) * key[0]))
            assert expected[key].same(request.task.value)
        assert engine.pool.free + engine.kv.reclaimable == len(engine.pool)
    assert_nothing_held(engine)
