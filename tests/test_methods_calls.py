"""APR and recursive models: who is called, in which context, what comes back, where it stands, what it costs."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted, role
from taught import Taught
from test_methods_forking import WORDS, lines

from miniapr.methods.budget import Budget
from miniapr.methods.calls import apr, recursive
from miniapr.methods.grammar import Control
from miniapr.methods.outcome import Outcome
from miniapr.methods.player import Player, Role
from miniapr.players import game_of
from miniapr.tasks import roles as taught_roles
from miniapr.tasks.roles import Teacher
from miniapr.tasks.states import State, steps
from miniapr.tasks.trace import Trace, Words

END = WORDS["eos"]


def caller(script: Any, counted: bool = False, **options: Any) -> tuple[Scripted, Player]:
    """Parts are words: a call names them, a child is asked one, and returns the last word that it wrote."""
    engine = Scripted(script, **options)
    control = Control.of(engine.words, WORDS)  # type: ignore[arg-type]

    def named(part: Any, text: str) -> list[str]:
        return [word for word in text.split() if word not in WORDS.values()]

    def told(part: Any, text: str, *returned: str) -> list[int]:
        return engine.words.encode(" ".join(("got", *returned, "so")))

    def last(part: Any, text: str) -> str:
        return (text.split() or ["nothing"])[-1]

    def asked(part: Any) -> str:
        return f"parent {part or 'all'}"

    found = {
        "parent": role(engine, asked, last, END),
        "child": role(engine, lambda part: f"child {part}", last, END),
        "call": Role(told, named),
    }
    if counted:
        found["counted"] = role(engine, lambda part, number: f"{number} parent all", last, END)
    return engine, Player("a caller", found, control=control)


def run(method: Any, *texts: str, budget: Budget | None = None, **options: Any) -> tuple[Scripted, Outcome]:
    engine, player = caller(lines(*texts))
    return engine, engine.play(method, player, budget, **options)


CALL = "parent all hm <plan> a b <plan_end>"
A, B = "child a one x <eos>", "child b two three y <eos>"
REST = "parent all hm got x y so done <eos>"


def test_children_have_contexts_of_their_own_and_their_messages_replace_the_call() -> None:
    engine, outcome = run(apr, CALL, A, B, REST)
    assert outcome.answer == "done"
    assert {"child a", "child b"} <= set(engine.read)  # whole contexts: nothing of the parent's
    assert "parent all hm got x y so" in engine.read and not any("plan_end> got" in text for text in engine.read)
    begun = [event.data["children"] for event in engine.events if event.kind == "forked"]
    assert [(child["position"], child["view"]) for child in begun[0]] == [(0, []), (0, [])]
    assert outcome.costs.decoded == 5 + 3 + 4 + 2
    assert outcome.costs.critical == 5 + 4 + 2
    # Prompts, and what was returned. What stood before the call is neither computed again nor sent.
    assert outcome.costs.prefilled == 2 + 2 + 2 + 4 and outcome.costs.recomputed == 0
    assert outcome.costs.largest_context == 3 + 4 + 1
    assert [thought.joins for thought in outcome.tree] == [(1, 2), (), ()]


def test_as_far_as_the_answer_begins_like_the_call_nothing_is_taken_back() -> None:
    engine, player = caller(lines("parent all <plan> a <plan_end>", A, "parent all <plan> a <plan_end> x done <eos>"))
    told = player.roles["call"]

    def after(part: Any, text: str, *returned: str) -> list[int]:
        return engine.words.encode(" ".join((text, *returned)))

    roles = {**player.roles, "call": Role(after, told.read)}
    outcome = engine.play(apr, Player("a keeper", roles, control=player.control))
    assert outcome.answer == "done" and outcome.costs.prefilled == 2 + 2 + 1  # two prompts and the message


def test_a_parent_may_call_several_times() -> None:
    second = "parent all hm got x y so well <plan> c <plan_end>"
    _, outcome = run(apr, CALL, A, B, second, "child c z <eos>", "parent all hm got x y so well got z so done <eos>")
    assert outcome.answer == "done" and outcome.tree[0].joins == (1, 2, 3)
    assert outcome.costs.critical == (5 + 4) + (4 + 2) + 2


def test_children_call_in_turn_as_deep_as_the_levels() -> None:
    inner = "parent a <plan> c d <plan_end>", "child c u <eos>", "child d v <eos>", "parent a got u v so x <eos>"
    rest = (B.replace("child", "parent"), CALL, REST)
    _, outcome = run(apr, *inner, *rest, levels=2)
    assert outcome.answer == "done"
    assert [thought.parent for thought in outcome.tree] == [None, 0, 0, 1, 1]
    assert outcome.costs.critical == 5 + (4 + 2 + 2) + 2
    _, flat = run(apr, "child a <plan> x <eos>", CALL, B, REST)  # on the last level a call is text
    assert flat.answer == "done" and len(flat.tree) == 3


def test_a_recursive_model_calls_and_returns_one_after_the_other() -> None:
    inner = "parent a <plan> c d <plan_end>", "child c u <eos>", "child d v v <eos>", "parent a got u v so x <eos>"
    engine, outcome = run(recursive, *inner, B.replace("child", "parent"), CALL, REST)
    assert outcome.answer == "done" and len(outcome.tree) == 5
    assert outcome.costs.critical == outcome.costs.decoded == 5 + (4 + 2 + 3 + 2) + 4 + 2
    assert outcome.costs.largest_context == 3 + 4 + 1  # of one frame, however much was written in all
    order = [text for text in engine.read if text in ("child c", "child d", "parent b")]
    assert order == ["child c", "child d", "parent b"]


def test_what_was_returned_is_never_written_by_the_model() -> None:
    """If it opens such a block itself, that becomes a call."""
    engine, outcome = run(apr, "parent all hm <join>", CALL, A, B, REST)
    assert outcome.answer == "done" and sum("<join>" in text for text in engine.read) == 1  # as it was written
    assert outcome.costs.decoded == (2 + 3) + 3 + 4 + 2 and outcome.costs.recomputed == 0


def test_the_number_of_children_can_be_told_to_a_model_that_was_trained_for_it() -> None:
    engine, player = caller(
        lines("2 parent all <plan> a b c <plan_end>", A, B, "2 parent all got x y so w <eos>"), True
    )
    outcome = engine.play(apr, player, children=2)
    assert outcome.answer == "w" and len(outcome.tree) == 3
    engine, player = caller(lines(CALL, A, B, REST))
    with pytest.raises(ValueError, match="does not play counted"):
        engine.play(apr, player, children=2)
    assert not engine.read


@pytest.mark.parametrize("call", ["<plan> <plan_end>", "<plan_end>", "<plan> <item> <plan_end>"])
def test_a_call_that_names_nothing_is_answered_with_nothing(call: str) -> None:
    _, outcome = run(apr, f"parent all {call}", "parent all got so done <eos>")
    assert outcome.answer == "done" and outcome.costs.recomputed == 0


def test_guard_rails() -> None:
    _, wide = run(apr, CALL, A, "parent all hm got x so done <eos>", width=1)
    assert wide.answer == "done" and len(wide.tree) == 2
    _, deep = run(apr, CALL, "parent all hm got so done <eos>", budget=Budget(100, depth=0))
    assert deep.answer == "<plan_end>" and deep.costs.decoded == 5  # a rewritten line is a fork too
    endless = caller(
        lambda words: {"parent": "<plan>", "child": "x"}.get(words[0], "x") if len(words) < 3 else "<plan_end>"
    )
    assert endless[0].play(apr, endless[1], Budget(500)).costs.decoded <= 500


METHODS = (apr, recursive)


@settings(max_examples=40)
@given(st.sampled_from(METHODS), st.integers(0, 10**6), st.integers(0, 80), st.integers(1, 4))
def test_F49_nonsense_has_a_defined_result_within_the_budget(method: Any, seed: int, tokens: int, levels: int) -> None:
    dice = random.Random(seed)
    engine, player = caller(lambda words: dice.choice([*WORDS.values(), "a", "b"]), num_blocks=400)
    outcome = engine.play(method, player, Budget(tokens, depth=4), levels=levels)
    assert outcome.costs.decoded <= tokens


# The player of Countdown, with a model that writes what the teacher would


def demonstrate(prompt: Words) -> Trace:
    arrow = prompt.index("->")
    state = State(tuple(map(int, prompt[2:arrow])), int(prompt[arrow + 1]))
    if prompt[1] == "<child>":
        return taught_roles.child(state, prompt[-1])
    return taught_roles.parent(state, Teacher(partial=0.0), random.Random(1))


@pytest.mark.parametrize("state", [State((8, 7, 3), 29), State((20, 9, 4), 33), State((5, 3, 2, 1), 11)])
def test_a_parent_that_was_taught_solves_what_can_be_solved(state: State) -> None:
    engine = Taught(demonstrate, num_blocks=1000)
    game = game_of(engine.bundle)
    outcome = engine.play(apr, game.player, problem=state, width=24)
    assert game.player.check and game.player.check(state, outcome.answer)
    parent = demonstrate(taught_roles.prompt(state, "parent"))
    children = [taught_roles.child(state, step) for step in steps(state)]
    assert outcome.costs.decoded == parent.total + sum(child.total for child in children)
    assert outcome.costs.critical == parent.critical + max(child.critical for child in children)


@pytest.mark.parametrize("method", METHODS)
def test_frames_of_frames_return_paths_of_steps(method: Any) -> None:
    state = State((8, 7, 3), 29)
    engine = Taught(demonstrate)
    game = game_of(engine.bundle)
    outcome = engine.play(method, game.player, problem=state, levels=2)
    assert game.player.check and game.player.check(state, outcome.answer)
    assert max(thought.text.count("<parent>") for thought in outcome.tree) == 1
    assert outcome.costs.critical == outcome.costs.decoded or method is apr
