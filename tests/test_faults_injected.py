"""An error at every place where one can happen, one place at a time: nobody else is harmed (F43)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Outcome, assert_nothing_held, distance, make_engine, plain_logits, small_model, think, thought

import miniapr.engine.decoding as decoding_module
from miniapr.engine import operations as op
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program, Request
from miniapr.engine.sampling import Sampling

WARM = Sampling(temperature=1.0, seed=3)
HOW = "stitch_copied"  # the join that uses every operation
KERNELS = ("write_kv", "paged_attention", "copy_and_shift")


class Injected(Exception):
    pass


class Faulty:
    """Stands for a function; raises at its k-th call and, if ``for_good``, at every later one."""

    def __init__(self, inner: Callable[..., Any], k: int, error: type[BaseException] = Injected) -> None:
        self.inner, self.k, self.error, self.calls = inner, k, error, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == self.k:
            raise self.error(f"at call {self.k}")
        return self.inner(*args, **kwargs)


def place(engine: Engine, where: str, k: int, patch: pytest.MonkeyPatch, error: type[BaseException]) -> Faulty:
    """Put a fault in its place; gives the counter of calls."""
    owner, name = {
        "allocate": (engine.pool, "allocate"),
        "sample": (decoding_module, "sample"),
        "decode": (engine.tokenizer, "decode"),
        **{kernel: (engine.ops, kernel) for kernel in KERNELS},
    }[where]
    if where in KERNELS:
        patch.setattr(engine.runner.graphs, "captures", None)  # a replay would pass by
    faulty = Faulty(getattr(owner, name), k, error)
    patch.setattr(owner, name, faulty)
    return faulty


def two_thoughts(engine: Engine) -> list[Request]:
    return [engine.submit(thought(prompt, HOW, WARM)) for prompt in ((1, 2, 3), (1, 2, 4))]


def finish(engine: Engine) -> None:
    for _ in range(300):
        if not engine.scheduler.requests:
            return
        engine.step()
        engine.check()
    raise AssertionError("no end")


def calls_of(where: str, options: dict[str, Any]) -> int:
    """How often a place is passed when nothing goes wrong."""
    engine = make_engine(**options)
    with pytest.MonkeyPatch.context() as patch:
        faulty = place(engine, where, 0, patch, Injected)
        two_thoughts(engine)
        finish(engine)
    return faulty.calls


def check_one(where: str, k: int, options: dict[str, Any], expected: list[Outcome], error: type[Exception]) -> int:
    """One fault: at most one request fails, with that fault; the other answers as if alone. Gives how many failed."""
    engine = make_engine(**options)
    with pytest.MonkeyPatch.context() as patch:
        faulty = place(engine, where, k, patch, error)
        requests = two_thoughts(engine)
        finish(engine)
        assert faulty.calls >= k
    failed = [request for request in requests if request.error]
    assert len(failed) <= 1, f"{where} call {k} ended both"
    for request, outcome in zip(requests, expected, strict=True):
        if request.error:
            assert isinstance(request.error, error), repr(request.error)
        else:
            assert outcome.same(request.task.value), f"{where} call {k}"
    assert brief().same(engine.run(short_thought())), "the engine goes on"
    assert_nothing_held(engine)
    return len(failed)


def short_thought() -> Program:
    """Every operation once."""
    root = yield op.Start((1, 2, 3), WARM)
    branches = yield op.Fork(root, [[7, 8], [9]])
    yield op.Decode(branches, max_tokens=2)
    root = yield op.Join(root, branches, HOW, then=[6])
    yield op.Decode([root], max_tokens=1)
    yield op.Settle([root])
    return Outcome([root.history], root.logits.clone(), root.position)


@functools.cache
def brief() -> Outcome:
    outcome: Outcome = make_engine().run(short_thought())
    return outcome


@pytest.mark.parametrize("where", ["allocate", "sample", "decode", *KERNELS])
def test_f09_f23_f43_an_error_at_any_call_ends_at_most_one_request_and_harms_no_other(where: str) -> None:
    options = {"block_size": 2, "num_blocks": 80, "max_batch_tokens": 16}
    expected = [think(HOW, WARM, prompt) for prompt in ((1, 2, 3), (1, 2, 4))]
    total = calls_of(where, options)
    assert total >= 4, "the place must be passed for this to mean anything"
    failed = sum(check_one(where, k, options, expected, Injected) for k in range(1, total + 1))
    event_free = {"write_kv", "paged_attention", "sample"}  # whole batches are tried again, request by request
    assert failed or where in event_free, "control: no fault was ever felt"


def test_f43_an_error_at_any_call_while_the_pool_is_short() -> None:
    """The same with preemption under way: the error may come while keys are computed again."""
    options = {"block_size": 2, "num_blocks": 26, "max_batch_tokens": 5, "reuse_prefixes": False}
    expected = [think(HOW, WARM, prompt) for prompt in ((1, 2, 3), (1, 2, 4))]
    for where in ("allocate", "write_kv", "copy_and_shift"):
        for k in range(1, calls_of(where, options) + 1):
            check_one(where, k, options, expected, Injected)


class Poisoned(Exception):
    """Raised for one request's rows only."""


def test_f43_a_fault_that_sticks_to_one_request_ends_that_one() -> None:
    """Whenever the marked token is in the batch the step fails: only its owner may end."""
    marked = 23
    for step in (0, 3):
        engine = make_engine()
        trunk = engine.model.model

        def enter(tokens: Any, *rest: Any, inner: Any = trunk.enter) -> Any:
            if (tokens == marked).any():
                raise Poisoned("marked")
            return inner(tokens, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trunk, "enter", enter)
            good = engine.submit(thought((1, 2, 3), HOW, Sampling()))
            for _ in range(step):
                engine.step()
            bad = engine.submit(thought((1, marked, 3), HOW, Sampling()))
            finish(engine)
        assert isinstance(bad.error, Poisoned)
        if not any(marked in tokens for tokens in think(HOW).tokens):
            assert think(HOW).same(good.task.value)
        assert_nothing_held(engine)


@pytest.mark.parametrize("where", ["allocate", "write_kv", "paged_attention", "copy_and_shift"])
def test_ctrl_c_at_any_call_leaves_a_pool_that_can_go_on(where: str) -> None:
    options = {"block_size": 2, "num_blocks": 80}
    expected = think(HOW, WARM)
    with pytest.MonkeyPatch.context() as patch:
        faulty = place(engine := make_engine(**options), where, 0, patch, KeyboardInterrupt)
        engine.run(thought((1, 2, 3), HOW, WARM))
    for k in range(1, faulty.calls + 1):
        engine = make_engine(**options)
        with pytest.MonkeyPatch.context() as patch:
            place(engine, where, k, patch, KeyboardInterrupt)
            request = engine.submit(thought((1, 2, 3), HOW, WARM))
            with pytest.raises(KeyboardInterrupt):
                finish(engine)
            engine.check()
        partial = [branch.history for branch in request.branches]
        assert any(partial) or not request.branches, "what was said can be shown"
        engine.abort(request)
        assert expected.same(engine.run(thought((1, 2, 3), HOW, WARM)))
        assert_nothing_held(engine)


def test_a_failed_operation_by_hand_leaves_an_engine_that_works() -> None:
    engine = make_engine()
    root = engine.settle(engine.start([1, 2, 3]))
    with pytest.MonkeyPatch.context() as patch:
        place(engine, "write_kv", 1, patch, Injected)
        with pytest.raises(Injected):
            engine.decode([root], max_tokens=2)
    engine.check()
    other = engine.settle(engine.start([1, 2, 3]))
    assert distance(other.logits, plain_logits(small_model(), [1, 2, 3])) < 1e-10


def bad_programs() -> list[Program]:
    def yields_nonsense() -> Program:
        yield "not an operation"  # type: ignore[misc]

    def raises() -> Program:
        root = yield op.Start([1])
        yield op.Fork(root, 2)
        raise RuntimeError("mine")

    def never_starts() -> Program:
        raise RuntimeError("at once")
        yield

    return [yields_nonsense(), raises(), never_starts()]


@pytest.mark.parametrize("number", range(3))
def test_f43_m4_a_broken_program_ends_itself_only(number: int) -> None:
    engine = make_engine()
    good, bad = engine.submit(thought((1, 2, 3), HOW, WARM)), engine.submit(bad_programs()[number])
    finish(engine)
    assert bad.state == "failed"
    assert think(HOW, WARM).same(good.task.value)
    with pytest.raises((RuntimeError, AttributeError)):
        engine.wait(bad)
    assert_nothing_held(engine)
