"""The stepper draws the engine's own state: what its script makes of the events is what the engine had."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import make_engine, quickest, thought
from hypothesis import given, settings
from programs import Scenario, run, scenarios
from taught import Taught
from test_methods_calls import demonstrate as called
from test_methods_sorting import demonstrate as sorted_by_halves

import miniapr
from miniapr.engine import operations as op
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program
from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.stepper import Trace
from miniapr.stepper.page import STATIC
from miniapr.tasks.states import State

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node: the stepper's script cannot be run")


def states(trace: Trace) -> dict[str, Any]:
    command = ["node", str(Path(__file__).parent / "states.mjs"), str(STATIC)]
    done = subprocess.run(command, input=json.dumps(trace.data), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def picture(engine: Engine) -> dict[str, Any]:
    branches: dict[str, Any] = {}
    spans: dict[str, Any] = {}
    for request in engine.scheduler.requests.values():
        for b in request.alive:
            view = [[p.span.id, p.start, p.stop, p.shift] for p in b.view]
            branches[str(b.id)] = {"view": view, "span": b.span.id, "next": b.position}
            for span in (*(piece.span for piece in b.view), b.span):
                spans[str(span.id)] = {
                    "tokens": span.tokens[:], "position": span.position, "written": span.written,
                    "blocks": span.blocks[: engine.pool.blocks_for(span.written)],
                }  # fmt: skip
    refs = {str(block): int(n) for block, n in enumerate(engine.pool.refs) if n}
    return {"branches": branches, "spans": spans, "refs": refs}


@contextmanager
def watched() -> Iterator[dict[int, tuple[Engine, dict[str, Any]]]]:
    """The engine's state after every step taken inside."""
    seen: dict[int, tuple[Engine, dict[str, Any]]] = {}
    original = Engine.step

    def step(engine: Engine) -> Any:
        events = original(engine)
        seen[engine.steps - 1] = (engine, picture(engine))
        return events

    Engine.step = step  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Engine.step = original  # type: ignore[method-assign]


@given(scenario=scenarios())
@settings(max_examples=40)
def test_the_script_derives_the_engines_state_from_its_events(scenario: Scenario) -> None:
    with watched() as seen:
        run(scenario, quickest(), torch.float64, 1e-10)
    if not seen:
        return  # aborted before anything was done
    engine = next(iter(seen.values()))[0]
    found = states(Trace.of(engine))
    for step, drawn in found["told"].items():
        if int(step) not in seen:
            continue  # what was aborted after the last step
        assert drawn == seen[int(step)][1], f"step {step}"


@pytest.mark.parametrize("how", ["stitch", "stitch_contiguous", "stitch_copied", "reprefill"])
def test_its_counters_are_the_engines_own(how: str) -> None:
    engine = make_engine(reuse_prefixes=False)
    request = engine.submit(thought([1, 2, 3], how))
    engine.wait(request)
    found, cost = states(Trace.of(engine))["counters"], request.cost
    names = ("decoded", "prefilled", "recomputed", "reused", "bytes_moved", "keys_shifted")
    assert {name: found[name] for name in names} == {name: getattr(cost, name) for name in names}
    assert found["passes"] == cost.steps and found["critical"] == request.branches[0].critical


def test_what_is_read_again_stays_that_where_it_is_joined_again_before_it_is_computed() -> None:
    def program() -> Program:
        root = yield op.Start([1, 2, 3])
        left, right = yield op.Fork(root, [[7, 8], [9]])
        inner = yield op.Fork(left, [[4, 5], [6, 10]])
        yield op.Settle([*inner, right])
        left = yield op.Join(left, inner, "reprefill", then=[5])
        joined = yield op.Join(root, [left, right], "reprefill", then=[11], keep=True)
        yield op.Settle([left, right, joined])

    engine = make_engine(reuse_prefixes=False)
    request = engine.submit(program())
    engine.wait(request)
    found = states(Trace.of(engine))
    assert found["counters"]["recomputed"] == request.cost.recomputed == 3
    assert [*found["read"].values()] == [[6, 10], [6, 10, 5, 9]]


@pytest.mark.parametrize(
    ("method", "options"),
    [("multiverse", {"join": "stitch"}), ("multiverse", {"join": "reprefill"}), ("apr", {}), ("recursive", {})],
)
def test_what_nests_is_drawn_and_counted_at_any_depth(method: str, options: dict[str, Any]) -> None:
    """Blocks in blocks; calls in calls, whose contexts are their own and whose messages cut a history short."""
    problem = (17, 4, 88, 23, 61, 9, 42, 75, 30, 56, 12, 99, 3, 68, 35, 81, 5) if options else State((8, 7, 3), 29)
    engine = Taught(sorted_by_halves if options else called, num_blocks=1000)
    game = game_of(engine.bundle, task="sorting" if options else "countdown")
    with watched() as seen:
        outcome = engine.play(METHODS[method], game.player, Budget(400), problem, **options)
    found = states(Trace.of(engine))
    assert {step: drawn for step, drawn in found["told"].items() if drawn != seen[int(step)][1]} == {}
    for name in ("decoded", "critical", "prefilled", "recomputed", "reused"):
        assert found["counters"][name] == getattr(outcome.costs, name), name


@pytest.mark.parametrize("method", ["mcts", "tree-of-thoughts", "recursive"])
def test_rows_are_in_the_order_of_the_tree_and_say_how_each_branch_fared(method: str) -> None:
    bundle = miniapr.load()
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=1000, record=True)
    player, budget = game_of(bundle).player, Budget(600)
    outcome = play(engine, METHODS[method](State((8, 7, 3), 29), player, budget), budget)
    assert outcome is not None
    lanes = states(Trace.of(engine))["lanes"]
    thoughts = {thought.branch: thought for thought in outcome.tree}
    assert [*thoughts] == sorted(branch for branch, _, _ in lanes) != [branch for branch, _, _ in lanes]
    above: list[int] = []
    for branch, depth, fared in lanes:
        del above[depth:]
        assert thoughts[branch].parent == (above[-1] if above else None)
        above.append(branch)
        end = thoughts[branch].end
        assert fared.endswith(end) if end == "released" else fared in ("", "kept") or "score" in fared
    scores = {c.branch: f"score {float(f'{c.score:.3g}'):g}" for c in outcome.candidates if c.score is not None}
    assert all(fared.startswith(scores[branch]) for branch, _, fared in lanes if branch in scores)
    assert ("10 visits" in lanes[0][2]) == (method == "mcts")  # the root's, of ten simulations


def test_a_branch_that_wrote_nothing_has_no_row_if_it_is_only_a_way_to_another() -> None:
    engine = make_engine(record=True)
    root = engine.start([1, 2, 3])
    (way,) = engine.fork(root, 1)
    left, right = engine.fork(way, 2)
    (on,) = engine.fork(right, 1)
    engine.decode([left, on], max_tokens=2)
    found = [(branch, depth) for branch, depth, _ in states(Trace.of(engine))["lanes"]]
    assert found == [
        (root.id, 0),
        (way.id, 1),
        (left.id, 2),
        (on.id, 2),
    ]  # who has two children stays


@pytest.mark.parametrize("positions", ["slots", "shared", "contiguous"])
def test_in_a_weave_it_draws_what_the_others_have_written_where_the_reader_sees_it(positions: str) -> None:
    engine = make_engine(reuse_prefixes=False, record=True)
    root = engine.start([1, 2, 3])
    workers = engine.weave(engine.fork(root, [[4, 5], [6], [7, 8]]), positions, 20 if positions == "slots" else None)
    engine.decode(workers, max_tokens=3)
    engine.commit(root)  # the spans are sealed, and go on in others
    engine.decode(workers, max_tokens=2)
    for worker in workers:
        engine.settle(worker)
    drawn = states(Trace.of(engine))["standing"]
    for worker in workers:
        weave = worker.span.weave
        assert weave
        seen = [*weave.sees(worker.span, weave.index)[:-1], worker.span.whole()]
        told = [token for a, b, c, by in drawn[str(worker.id)] for token in places(a, b, c, by)]
        assert told == [token for p in seen for token in places(p.span.id, p.start, p.stop, p.shift)]


def places(span: int, start: int, stop: int, shift: int) -> list[tuple[int, int, int]]:
    return [(span, i, shift) for i in range(start, stop)]
