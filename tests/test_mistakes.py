"""A user's mistake is told, and leaves the tree as it was; what can be understood is taken; callers may be many."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_nothing_held, backend_or_skip, make_engine, small_model, thought, tree

from miniapr.engine import operations as op
from miniapr.engine.branch import Branch, Limits
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling

Mistake = Callable[[Engine, Branch, list[Branch]], Any]

MISTAKES: dict[str, Mistake] = {
    "fork into things": lambda engine, root, branches: engine.fork(branches[0], [object()]),  # type: ignore[list-item]
    "fork into nothing": lambda engine, root, branches: engine.fork(branches[0], 0),
    "fork into half a branch": lambda engine, root, branches: engine.fork(branches[0], 1.5),  # type: ignore[arg-type]
    "fork beyond the limit": lambda engine, root, branches: engine.fork(branches[0], 10**12),
    "fork no branch": lambda engine, root, branches: engine.fork("a", 2),  # type: ignore[arg-type]
    "fork into an unknown name": lambda engine, root, branches: engine.fork(branches[0], [["<no such>"]]),
    "fork out of the vocabulary": lambda engine, root, branches: engine.fork(branches[0], [[10**6]]),
    "decode until a list": lambda engine, root, branches: engine.decode(branches, until=[[1]]),  # type: ignore[list-item]
    "decode to a number": lambda engine, root, branches: engine.decode(branches, stop=[5]),  # type: ignore[list-item]
    "decode to nothing": lambda engine, root, branches: engine.decode(branches, stop=[""]),
    "decode less than nothing": lambda engine, root, branches: engine.decode(branches, max_tokens=-1),
    "decode half a token": lambda engine, root, branches: engine.decode(branches, max_tokens=2.5),  # type: ignore[arg-type]
    "decode a branch twice": lambda engine, root, branches: engine.decode([branches[0], branches[0]]),
    "decode text": lambda engine, root, branches: engine.decode(["a"]),  # type: ignore[list-item]
    "decode one that forked": lambda engine, root, branches: engine.decode([root]),
    "join and say a thing": lambda engine, root, branches: engine.join(root, branches, then=[object()]),  # type: ignore[list-item]
    "join and say an unknown name": lambda engine, root, branches: engine.join(root, branches, then=["<join>"]),
    "join in no known way": lambda engine, root, branches: engine.join(root, branches, "weld"),
    "join nothing": lambda engine, root, branches: engine.join(root, []),
    "join by a rule that fails": lambda engine, root, branches: engine.join(root, branches, lambda *_: 1 / 0),  # type: ignore[arg-type, return-value]
    "extend by a fraction": lambda engine, root, branches: engine.extend(branches[0], [1.5]),  # type: ignore[list-item]
    "extend by truth": lambda engine, root, branches: engine.extend(branches[0], [True]),
    "extend by nothing that is known": lambda engine, root, branches: engine.extend(branches[0], None),  # type: ignore[arg-type]
    "extend by an array of fractions": lambda engine, root, branches: engine.extend(branches[0], np.ones(2)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_and_the_tree_is_as_it_was(mistake: str) -> None:
    engine = make_engine()
    root, branches = tree(engine, 2)
    before = [(branch.id, branch.history, branch.state) for branch in root.request.alive]
    with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
        MISTAKES[mistake](engine, root, branches)
    engine.check()
    assert [(branch.id, branch.history, branch.state) for branch in root.request.alive] == before
    joined = engine.join(root, branches, then=[2])  # all of it can still be done
    engine.decode([joined], max_tokens=2)
    engine.release(joined)
    assert_nothing_held(engine)


ARRAYS: list[Callable[[list[int]], Any]] = [
    tuple,
    torch.tensor,
    lambda ids: torch.tensor(ids, dtype=torch.int32),
    lambda ids: [torch.tensor(id) for id in ids],
    lambda ids: np.array(ids, np.uint8),
    lambda ids: [np.int64(id) for id in ids],
    iter,
    lambda ids: [".|abcdefghijklmnopqrstuvwxyz"[0] if id == 27 else id for id in ids],
]


@pytest.mark.parametrize("made", range(len(ARRAYS)))
def test_tokens_of_any_integer_kind_are_taken(made: int) -> None:
    def said(kind: Callable[[list[int]], Any]) -> list[list[int]]:
        engine = make_engine()
        root = engine.settle(engine.start(kind([1, 2, 3])))
        left, right = engine.fork(root, [kind([4]), kind([27, 6])])
        engine.extend(left, kind([7]))
        engine.decode([left, right], until=kind([9]), max_tokens=3)
        return [left.history, engine.join(root, [left, right], then=kind([8])).history]

    assert said(ARRAYS[made]) == said(list)


def test_names_and_text_are_taken_where_tokens_are() -> None:
    engine = make_engine()
    root = engine.start("abc")
    left, right = engine.fork(root, ["de", ["f", 6]])
    assert (left.tokens, right.tokens) == ([3, 4], [5, 6])
    engine.decode([left, right], until="g", stop=None, max_tokens=2)  # type: ignore[arg-type]
    assert engine.join(root, [left, right], then=["h"]).tokens[-1] == 7


@pytest.mark.parametrize("stop", [[5], [None], 5])
def test_a_program_that_asks_for_nonsense_leaves_nothing_behind(stop: Any) -> None:
    def program() -> Program:
        root = yield op.Start([1, 2])
        yield op.Decode([root], stop=stop)

    engine = make_engine()
    with pytest.raises((ValueError, TypeError)):
        engine.run(program())
    assert_nothing_held(engine)


def test_a_tokenizer_that_fails_at_the_very_end_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def program() -> Program:
        yield op.Decode([(yield op.Start([1, 2]))], max_tokens=50)

    engine = make_engine()
    request = engine.submit(program())
    for _ in range(4):
        engine.step()

    def broken(ids: Sequence[int]) -> str:
        raise RuntimeError("no text today")

    monkeypatch.setattr(engine.tokenizer, "decode", broken)
    with pytest.raises(RuntimeError, match="no text today"):
        engine.abort(request)
    monkeypatch.undo()
    assert_nothing_held(engine)


def test_forks_may_be_deeper_than_pythons_stack() -> None:
    def program(depth: int) -> Program:
        root = branch = yield op.Start([1])
        for _ in range(depth):
            (branch,) = yield op.Fork(branch, [[2]])
        yield op.Settle([branch])
        said = len(branch.history), branch.depth
        yield op.Release([root])
        return said

    depth = 250
    size = {"num_blocks": depth + 10, "block_size": 1, "record": False}
    engine = make_engine(small_model(context=depth + 10), backend_or_skip("cpp"), **size)
    engine.run(program(3))  # whatever is imported the first time, and needs a deep stack for it
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 120)
    try:
        assert engine.run(program(depth), Limits(depth=depth)) == (depth + 1, depth)
    finally:
        sys.setrecursionlimit(usual)
    assert_nothing_held(engine)


@pytest.mark.parametrize("temperature", [1e-310, 1e-40, 5e-324])
def test_a_temperature_next_to_nothing_is_greedy(temperature: float) -> None:
    plain = make_engine().run(thought([1, 2, 3]))
    cold = make_engine().run(thought([1, 2, 3], sampling=Sampling(temperature=temperature, seed=1)))
    assert cold.tokens == plain.tokens


def test_several_threads_on_one_engine_get_their_own_answers() -> None:
    prompts = [[1, 2, 3 + i] for i in range(6)]
    alone = [make_engine().run(thought(prompt)) for prompt in prompts]
    engine = make_engine(num_blocks=400, record=False)
    found: dict[int, Any] = {}

    def ask(number: int) -> None:
        if number % 2:  # half of them by hand
            root, branches = tree(engine, prompt=prompts[number])
            found[number] = [branch.history for branch in branches]
            engine.release(root)
        else:
            found[number] = engine.run(thought(prompts[number]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, prompt in enumerate(prompts):
        if number % 2:
            _, branches = tree(make_engine(), prompt=prompt)
            assert found[number] == [branch.history for branch in branches]
        else:
            assert found[number].same(alone[number])
    assert_nothing_held(engine)
