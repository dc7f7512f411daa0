"""Blocks in blocks and blocks after blocks, at any depth: every join, count and picture is that of the text itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted
from taught import Taught, texts, whole
from test_methods_forking import WORDS, lines, planner

from miniapr.engine.branch import Branch
from miniapr.methods.blocks import multiverse, npr, threadweaver
from miniapr.methods.budget import Budget
from miniapr.methods.outcome import Outcome
from miniapr.players import game_of
from miniapr.tasks import roles
from miniapr.tasks.roles import Teacher
from miniapr.tasks.states import State
from miniapr.tasks.trace import Trace, Words

JOINS = ("stitch", "stitch_contiguous", "stitch_copied", "reprefill")


class Writer:
    """Makes texts with blocks by chance; no word comes twice, so that a text says where it is."""

    def __init__(self, seed: int, deep: int = 4, wide: int = 3) -> None:
        self.dice, self.deep, self.wide, self.count, self.blocks = random.Random(seed), deep, wide, 0, 12

    def words(self, least: int, most: int) -> Words:
        number = self.dice.randint(least, most)
        self.count += number
        return tuple(f"w{self.count - i}" for i in range(number))

    def line(self, given: Words, end: str, depth: int = 0) -> Trace:
        """With one block, and after it perhaps another: what follows a join is a line too."""
        written = self.words(0, 3)
        self.blocks -= 1
        if depth == self.deep or self.blocks < 0 or self.dice.random() < 0.35:
            return Trace(given, (*written, end))
        items = [self.words(1, 2) for _ in range(self.dice.randint(1, self.wide))]
        plan = [word for item in items for word in (WORDS["item"], *item)][1:]
        threads = [self.line((WORDS["thread"], *item), WORDS["thread_end"], depth + 1) for item in items]
        then = self.line((WORDS["join"],), end, depth)
        return Trace(given, (*written, WORDS["plan"], *plan, WORDS["plan_end"]), tuple(threads), then)


def play(trace: Trace, method: Any, budget: Budget | None = None, **options: Any) -> tuple[Scripted, Outcome]:
    engine, player = planner(lines(*(" ".join(text) for text in texts(trace))), num_blocks=1000)
    return engine, engine.play(method, player, budget, **options)


def blocks(trace: Trace) -> Iterator[Trace]:
    return (one for one in trace if one.threads)


def end(trace: Trace, begin: int, after: Callable[[int, list[int]], int]) -> int:
    """The position after a text that begins at ``begin``; ``after``: a block, from where its threads begin and end."""
    begin += len(trace.given) + len(trace.written)
    if trace.threads:
        begin = after(begin, [end(thread, begin, after) for thread in trace.threads])
    return end(trace.then, begin, after) if trace.then else begin


def beside(begin: int, ends: list[int]) -> int:
    return max(ends)


def behind(begin: int, ends: list[int]) -> int:
    return begin + sum(one - begin for one in ends)


@settings(max_examples=20)
@given(st.integers(0, 10**9), st.sampled_from(JOINS))
def test_nested_blocks_are_joined_and_counted_as_the_text_says(seed: int, join: str) -> None:
    trace = Writer(seed).line(("think",), WORDS["eos"])
    engine, outcome = play(trace, multiverse, join=join)
    assert outcome.answer == " ".join([*whole(trace)][1:-1])
    costs = outcome.costs
    assert (costs.decoded, costs.critical) == (trace.total, trace.critical)
    assert costs.largest_context == max(map(len, texts(trace))) - 1
    # The last thread's end is not computed when its keys are not asked for: it counts as new.
    sizes = [[len([*whole(thread)]) - 1 for thread in block.threads] for block in blocks(trace)]
    assert costs.recomputed == (sum(sum(size[1:]) for size in sizes) if join == "reprefill" else 0)
    kinds = [event.kind for event in engine.events]
    assert kinds.count("joined") == len(sizes) and kinds.count("merged") == sum(map(len, sizes))
    assert "aborted" not in kinds and "fallback" not in kinds
    last = [event.data for event in engine.events if event.kind == "joined" and event.branch == 0][-1:]
    for data in last:
        written = len(stretches(trace)[-1].written)
        assert data["position"] + len(data["tokens"]) == end(trace, 0, beside if join == "stitch" else behind) - written


@settings(max_examples=12)
@given(st.integers(0, 10**9), st.sampled_from(JOINS))
def test_the_tree_has_a_node_for_every_thread_where_it_belongs(seed: int, join: str) -> None:
    trace = Writer(seed).line(("think",), WORDS["eos"])
    _, outcome = play(trace, multiverse, join=join)
    assert outcome.tree[0].text.split() == [word for one in stretches(trace) for word in (*one.given, *one.written)]
    nodes = {thought.branch: thought for thought in outcome.tree}
    threads = [thread for block in blocks(trace) for thread in block.threads]
    assert len(nodes) == 1 + len(threads)
    begun = {thread.given: thread for thread in threads}
    for node in outcome.tree[1:]:
        assert node.parent is not None
        assert node.end == "joined" and node.branch in nodes[node.parent].joins
        thread = next(thread for given, thread in begun.items() if tuple(node.text.split()[: len(given)]) == given)
        own = stretches(thread)
        assert node.decoded == sum(len(one.written) for one in own)
        assert node.text.split() == [word for one in own for word in (*one.given, *one.written)]


def stretches(trace: Trace) -> list[Trace]:
    """What one branch writes itself, without its threads."""
    return [trace, *(stretches(trace.then) if trace.then else [])]


@settings(max_examples=8)
@given(st.integers(0, 10**9), st.integers(0, 120), st.integers(0, 4), st.integers(1, 3))
def test_guard_rails_hold_at_any_depth(seed: int, tokens: int, depth: int, width: int) -> None:
    trace = Writer(seed).line(("think",), WORDS["eos"])

    def follow(words: list[str]) -> str:
        word = known(words)
        return word if word != WORDS["eos"] else "x" if len(words) % 5 else WORDS["thread_end"]

    known = lines(*(" ".join(text) for text in texts(trace)))
    for method in (multiverse, npr, threadweaver):
        engine, player = planner(follow, num_blocks=1000)
        outcome = engine.play(method, player, Budget(tokens, depth=depth), width=width)
        assert outcome.costs.decoded <= tokens
        levels = {thought.branch: 0 for thought in outcome.tree if thought.parent is None}
        for thought in outcome.tree:
            if thought.parent is not None:
                levels[thought.branch] = levels[thought.parent] + 1
        assert max(levels.values()) <= (min(depth, 1) if method is threadweaver else depth)
        forked = [event.data["children"] for event in engine.events if event.kind == "forked"]
        assert all(len(children) <= width for children in forked)


def test_a_finished_thread_waits_with_its_keys_and_values() -> None:
    short = "think <plan> a <item> b <plan_end>"
    one, two = f"{short} <thread> a <thread_end>", f"{short} <thread> b {'y ' * 30}<thread_end>"
    both = f"{one} {two.removeprefix(short).strip()} <join> so <eos>"
    engine, player = planner(lines(one, two, both))
    waited: list[int] = []

    def look() -> bool:
        held: list[Branch] = [b for request in engine.scheduler.requests.values() for b in request.alive]
        for branch in held:
            if branch.completion and branch.text == "<thread> a <thread_end>":
                waited.append(branch.span.written)
                assert len(branch.span.blocks) * engine.pool.block_size >= branch.span.written
        engine.check()
        return False

    engine._check = look  # type: ignore[method-assign]
    outcome = engine.play(multiverse, player)
    assert outcome.answer is not None and outcome.answer.endswith("so") and len(waited) > 25 and set(waited) == {2, 3}
    assert outcome.costs.recomputed == 0 and outcome.costs.prefilled == 1 + 2 + 2 + 1


def test_npr_does_not_fork_where_too_few_tokens_are_left() -> None:
    text = "think <plan> a <plan_end>", "think <plan> a <plan_end> <thread> a x <thread_end> <join> so <eos>"
    engine, player = planner(lines(*text))
    assert len(engine.play(npr, player, Budget(20), reserve=17).tree) == 1
    engine, player = planner(lines(*text))
    assert len(engine.play(npr, player, Budget(20), reserve=16).tree) == 2


def test_on_four_numbers_threads_fork_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the model with roles was taught: every line of a problem of four numbers is a problem of three."""
    monkeypatch.setattr(roles, "_kept", lambda planned, *rest: list(planned))  # every thread is told
    state = State((5, 1, 1, 1), 8)

    def demonstrate(prompt: Words) -> Trace:
        return roles.adaptive(state, Teacher(narrow=0.0), random.Random(0))

    engine = Taught(demonstrate, num_blocks=4000)
    game = game_of(engine.bundle)
    trace = demonstrate(())
    outcome = engine.play(multiverse, game.player, problem=state, width=24)
    assert game.player.check and game.player.check(state, outcome.answer)
    assert (outcome.costs.decoded, outcome.costs.critical) == (trace.total, trace.critical)
    parents = {thought.branch: thought.parent for thought in outcome.tree}
    assert {parents[parent] for parent in parents.values() if parent} == {0}  # two levels
