"""Methods in which the model decides to fork: plans and threads, paragraphs, an organizer with workers; an outline."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import END, Scripted, role

from miniapr.engine.sampling import Sampling
from miniapr.methods.apar import apar
from miniapr.methods.async_think import Action, asyncthink
from miniapr.methods.blocks import multiverse, npr, parallel_r1, threadweaver
from miniapr.methods.budget import Budget
from miniapr.methods.grammar import Control
from miniapr.methods.outcome import Outcome
from miniapr.methods.player import Player, Role
from miniapr.methods.skeleton_of_thought import skeleton_joined, skeleton_of_thought
from miniapr.methods.table import METHODS

WORDS = {name: f"<{name}>" for name in ("plan", "item", "plan_end", "thread", "thread_end", "join", "eos")}
FAMILY = (multiverse, threadweaver, parallel_r1, npr)


def lines(*texts: str) -> Any:
    """A script that goes on with the first of these texts that begins like what it is shown, if any does."""

    known = [text.split() for text in texts]

    def script(words: list[str]) -> str:
        for text in known:
            if len(text) > len(words) and text[: len(words)] == words:
                return text[len(words)]
        return WORDS["eos"]

    return script


def planner(script: Any, **options: Any) -> tuple[Scripted, Player]:
    engine = Scripted(script, **options)
    control = Control.of(engine.words, WORDS)  # type: ignore[arg-type]
    adaptive = role(engine, lambda problem: "think", lambda problem, text: text, WORDS["eos"])
    return engine, Player("a planner", {"adaptive": adaptive, "paths": adaptive}, control=control)


PLAN = "think well <plan> a <item> b b <plan_end>"
ONE, TWO = "<thread> a x <thread_end>", "<thread> b b y y <thread_end>"
REST = "<join> so <eos>"


def run(method: Any, *texts: str, budget: Budget | None = None, **options: Any) -> tuple[Scripted, Outcome]:
    engine, player = planner(lines(*texts))
    return engine, engine.play(method, player, budget, **options)


@pytest.mark.parametrize(("method", "join"), [(multiverse, "stitch"), (threadweaver, "reprefill"), (npr, "stitch")])
def test_a_plan_becomes_threads_that_become_one_text(method: Any, join: str) -> None:
    whole = f"{PLAN} {ONE} {TWO} {REST}"
    engine, outcome = run(method, whole, f"{PLAN} {ONE}", f"{PLAN} {TWO}")
    assert outcome.answer == whole.removeprefix("think ").removesuffix(" <eos>")
    assert f"{PLAN} <thread> b b y" in engine.read  # a thread sees the plan and its item, and no sibling
    (joined,) = [event for event in engine.events if event.kind == "joined"]
    assert joined.data["how"] == join and joined.data["recomputed"] == (
        5 if join == "reprefill" else 0
    )  # the last one was not there yet
    assert outcome.costs.decoded == 7 + 2 + 3 + 2
    assert outcome.costs.critical == 7 + 3 + 2
    assert [thought.joins for thought in outcome.tree] == [(1, 2), (), ()]


def test_positions_overlap_after_a_stitch_and_follow_after_a_re_prefill() -> None:
    texts = f"{PLAN} {ONE} {TWO} {REST}", f"{PLAN} {ONE}", f"{PLAN} {TWO}"
    places = {}
    for method in (multiverse, threadweaver):
        engine, _ = run(method, *texts)
        (joined,) = [event for event in engine.events if event.kind == "joined"]
        places[method.name] = joined.data["position"] + len(joined.data["tokens"])
    fork = len(PLAN.split())
    assert places == {"multiverse": fork + 6 + 1, "threadweaver": fork + 4 + 6 + 1}


def test_plans_nest_for_multiverse_and_are_text_for_threadweaver() -> None:
    outer, inner = "think <plan> a <plan_end>", "<thread> a <plan> c <item> d <plan_end>"
    deep = f"{outer} {inner}"
    texts = [f"{deep} <thread> {w} <thread_end>" for w in "cd"]
    joined = f"{deep} <thread> c <thread_end> <thread> d <thread_end> <join> in <thread_end> <join> out <eos>"
    flat = f"{deep} oh <thread_end> <join> flat <eos>"
    _, outcome = run(multiverse, *texts, joined)
    assert outcome.answer is not None and outcome.answer.endswith("<join> in <thread_end> <join> out")
    assert [thought.parent for thought in outcome.tree] == [None, 0, 1, 1]
    _, outcome = run(threadweaver, flat)
    assert outcome.answer is not None and outcome.answer.endswith("<join> flat")
    assert len(outcome.tree) == 2


def test_parallel_r1_forks_into_equal_paths_that_differ_by_their_dice() -> None:
    def script(words: list[str]) -> str | dict[str, float]:
        if words[-1] == "<thread>":
            return {"x": 0.5, "y": 0.5}
        last = {"think": "<plan>", "x": "<thread_end>", "y": "<thread_end>", "<join>": "<eos>"}
        return last.get(words[-1], "<eos>")

    texts = set()
    for seed in range(8):
        engine, player = planner(script)
        outcome = engine.play(parallel_r1, player.seeded(seed))
        assert [thought.parent for thought in outcome.tree] == [None, 0, 0]
        texts.add(tuple(thought.text for thought in outcome.tree[1:]))
    assert len(texts) > 2


def test_parallel_r1_follows_four_blocks_and_no_more() -> None:
    def script(words: list[str]) -> str:
        return {"<thread>": "x", "x": "<thread_end>"}.get(words[-1], "<plan>")

    engine, player = planner(script)
    engine.play(parallel_r1, player, Budget(60))
    assert sum(event.kind == "joined" for event in engine.events) == 4


def test_a_plan_that_cannot_be_followed_ends_npr_and_is_concluded_by_multiverse() -> None:
    empty = "think <plan> <plan_end>"
    _, outcome = run(multiverse, f"{empty} <join> still <eos>")
    assert outcome.answer == "<plan> <plan_end> <join> still"
    _, outcome = run(npr, f"{empty} <join> still <eos>")
    assert outcome.answer == "<plan> <plan_end>"


def test_a_thread_cut_short_is_closed_and_ends_threadweaver() -> None:
    long = f"{PLAN} <thread> a " + "x " * 50
    engine, player = planner(lines(long, f"{PLAN} {TWO}"))
    roles = {"adaptive": role(engine, lambda p: "think", lambda p, text: text, WORDS["eos"], most=9)}
    cut = Player("a planner", roles, control=player.control)
    outcome = engine.play(threadweaver, cut)
    assert outcome.answer is not None and outcome.answer.endswith("<thread> b b y y <thread_end> <join>")


def test_the_same_weights_go_on_in_line_where_no_more_plans_are_followed() -> None:
    """ThreadWeaver's hybrid: what was a fork is text, written by one branch."""
    whole = f"{PLAN} {ONE} {TWO} {REST}"
    _, outcome = run(threadweaver, whole, blocks=0)
    assert outcome.answer == whole.removeprefix("think ").removesuffix(" <eos>")
    assert len(outcome.tree) == 1 and outcome.costs.critical == outcome.costs.decoded == len(whole.split()) - 1
    again = whole.replace("<eos>", f"{PLAN.removeprefix('think ')} {ONE} {TWO} <join> then <eos>")
    _, once = run(threadweaver, again, f"{PLAN} {ONE}", f"{PLAN} {TWO}", blocks=1)
    assert once.answer == again.removeprefix("think ").removesuffix(" <eos>") and len(once.tree) == 3


def test_the_plan_of_a_model_without_a_word_between_items() -> None:
    engine, player = planner(lines("think <plan> a b <plan_end>"))
    assert player.control is not None
    terse = Control(**{name: engine.words.id(word) for name, word in WORDS.items() if name != "item"})
    outcome = engine.play(multiverse, Player("terse", player.roles, control=terse))
    assert [thought.text.split()[:2] for thought in outcome.tree[1:]] == [["<thread>", "a"], ["<thread>", "b"]]


@settings(max_examples=25)
@given(st.sampled_from(FAMILY), st.integers(0, 10**6), st.integers(0, 60))
def test_F49_nonsense_has_a_defined_result_within_the_budget(method: Any, seed: int, tokens: int) -> None:
    dice = random.Random(seed)
    engine, player = planner(lambda words: dice.choice([*WORDS.values(), "a", "b"]), num_blocks=200)
    outcome = engine.play(method, player, Budget(tokens, depth=3))
    assert outcome.costs.decoded <= tokens


def test_a_plan_of_ten_thousand_items_is_cut_at_the_width() -> None:
    engine, player = planner(
        lambda words: ["a", "b", "c", "d", "e", "f", "g"][len(words) % 7] if len(words) % 2 else "<item>"
    )
    roles = {"adaptive": role(engine, lambda p: "think <plan>", lambda p, text: text, WORDS["eos"])}
    player = Player("endless", roles, control=player.control)
    outcome = engine.play(multiverse, player, Budget(300))
    assert outcome.spent and outcome.costs.decoded == 300


# APAR


def test_apar_writes_details_beside_the_text_and_frees_them() -> None:
    def script(words: list[str]) -> str:
        said = " ".join(words)
        table = {
            "tell": "one",
            "one": "[",
            "tell one [": "two",
            "two": "[",
            "tell one [ two [": "three",
            "three": "more",
            "more": END,
            "tell one [ child": "first",
            "first": END,
            "tell one [ two [ child": "second",
            "second": END,
        }
        return table.get(said) or table[words[-1]]

    engine = Scripted(script)
    engine.words.id("[")
    outline = role(engine, lambda problem: "tell", lambda problem, text: _stretch(engine, text))
    ends = outline.ends | {engine.words.id("[")}
    player = Player("a teller", {"outline": Role(outline.ask, outline.read, ends)})
    outcome = engine.play(apar, player)
    assert outcome.answer == "one\nfirst\ntwo\nsecond\nthree more"  # each detail behind what it belongs to
    assert not [event for event in engine.events if event.kind == "joined"]
    assert outcome.costs.decoded == 2 + 2 + 2 + 2 + 3 and outcome.costs.critical == 2 + 2 + 3
    freed = [event.step for event in engine.events if event.kind == "released"]
    assert min(freed) < max(event.step for event in engine.events if event.kind == "decoded")


def _stretch(engine: Scripted, text: str) -> tuple[str, list[int] | None]:
    fork = text.endswith("[")
    return text.replace("[", "").strip(), [engine.words.id("child")] if fork else None


def test_apar_does_not_follow_two_forks_in_a_row() -> None:
    engine = Scripted(lambda words: "[")
    outline = role(engine, lambda problem: "tell", lambda problem, text: _stretch(engine, text))
    player = Player("a forker", {"outline": Role(outline.ask, outline.read, frozenset([engine.words.id("[")]))})
    outcome = engine.play(apar, player, Budget(50))
    assert len(outcome.tree) == 3 and outcome.costs.decoded == 3


# AsyncThink


def organizer(script: Any) -> tuple[Scripted, Player]:
    engine = Scripted(script)

    def read(problem: Any, text: str) -> Action | None:
        words = text.split()
        if words[-3:-2] == ["fork"] and words[-2].isdigit():
            return Action("fork", int(words[-2]), words[-1])
        joins = words[-1:] == ["join"] and words[-2:][0].isdigit()
        return Action("join", int(words[-2])) if joins else None

    organize = role(engine, lambda problem: "plan", read)
    ends = organize.ends | {engine.words.id(word) for word in ("q1", "q2", "join")}
    roles = {
        "organizer": Role(organize.ask, read, ends),
        "agent": role(engine, lambda problem, query: f"work {query}", lambda problem, text: text),
        "returned": role(engine, lambda problem, number, words: f"got {words}", lambda problem, text: text),
    }
    return engine, Player("an organizer", roles)


LONG = 12


def organized(words: list[str]) -> str:
    """Forks two queries, thinks on for three words, joins the first, ends. A query takes LONG words."""
    if words[0] == "work":
        return "w" if len(words) < 2 + LONG else END
    line = f"plan fork 1 q1 fork 2 q2 hm hm hm 1 join {'got ' + 'w ' * LONG}so {END}".split()
    return line[len(words)] if len(words) < len(line) else END


def test_asyncthink_thinks_on_between_fork_and_join() -> None:
    engine, player = organizer(organized)
    outcome = engine.play(asyncthink, player)
    assert outcome.answer is not None and "got w w" in outcome.answer
    worker = LONG + 1
    root = outcome.tree[0]
    assert root.decoded == 3 + 3 + 3 + 2 + 2
    # The first fork, its worker, what follows the join: 18; and 19 of the second, for which nobody waits.
    assert outcome.costs.critical == max(3 + worker + 2, 6 + worker)
    organized_words = 3 + 3 + 3 + 2 + 2
    second = next(thought for thought in outcome.tree if thought.text.startswith("work q2"))
    assert outcome.costs.decoded == organized_words + worker + second.decoded
    assert engine.read.count("work q1") == 1 and "work q2" in engine.read  # a worker sees its query alone


def test_asyncthink_with_one_agent_makes_the_second_query_wait() -> None:
    def both(words: list[str]) -> str:
        if words[0] == "work":
            return organized(words)
        got = "got " + "w " * LONG
        line = f"plan fork 1 q1 fork 2 q2 2 join {got}so {END}".split()
        return line[len(words)] if len(words) < len(line) else END

    critical = {}
    for agents in (1, 2):
        engine, player = organizer(both)
        critical[agents] = engine.play(asyncthink, player, width=agents).costs.critical
    assert critical == {1: 3 + 2 * (LONG + 1) + 2, 2: 6 + (LONG + 1) + 2}


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_an_organizer_may_talk_nonsense(seed: int, tokens: int) -> None:
    dice = random.Random(seed)
    engine, player = organizer(lambda words: dice.choice(["fork", "join", "1", "2", "q1", "q2", END, "got"]))
    assert engine.play(asyncthink, player, Budget(tokens)).costs.decoded <= tokens


# Skeleton-of-Thought


def outliner(**more: Any) -> tuple[Scripted, Player]:
    def script(words: list[str]) -> str:
        if words[0] == "route":
            return "no" if len(words) == 1 else END
        if "conclude" in words:
            return "thus" if words[-1] == "conclude" else END
        point = words[words.index("point") + 1] if "point" in words else None
        if point:
            return {"point": point, point: f"{point}{point}"}.get(words[-1], END) if words[-1] != END else END
        if words[0] == "answer":
            return "plainly" if len(words) == 1 else END
        return {"outline": "a", "a": "b", "b": END}.get(words[-1], END)

    engine = Scripted(script)
    roles = {
        "chain": role(engine, lambda problem: "answer", lambda problem, text: text),
        "skeleton": role(engine, lambda problem: "outline", lambda problem, text: text.split()),
        "point": role(engine, lambda problem, outline, n, point: f"point {point}", lambda problem, text: text),
        "expand": role(engine, lambda problem, outline, n, point: f"point {point}", lambda problem, text: text),
        "conclude": role(engine, lambda problem: "conclude", lambda problem, text: text),
        **{name: made(engine) for name, made in more.items()},
    }
    return engine, Player("an outliner", roles)


def test_skeleton_of_thought_writes_points_apart_and_puts_them_together() -> None:
    engine, player = outliner()
    outcome = engine.play(skeleton_of_thought, player)
    assert outcome.answer == "1. a aa\n2. b bb"
    assert [thought.parent for thought in outcome.tree] == [None] * 3  # requests of their own
    assert outcome.costs.critical == 3 + 2 and outcome.costs.decoded == 3 + 2 * 2
    assert not [event for event in engine.events if event.kind in ("joined", "forked")]


def test_ours_concludes_from_all_points() -> None:
    engine, player = outliner()
    outcome = engine.play(skeleton_joined, player)
    assert outcome.answer == "thus" and outcome.tree[0].joins == (1, 2)
    assert "outline a b . point a aa . point b bb . conclude" in engine.read


def test_a_question_that_suits_no_outline_is_answered_in_line() -> None:
    route = {"route": lambda engine: role(engine, lambda problem: "route", lambda problem, text: text == "yes")}
    engine, player = outliner(**route)
    assert engine.play(skeleton_of_thought, player, router=1).answer == "plainly"
    assert engine.play(skeleton_of_thought, player).answer == "1. a aa\n2. b bb"  # as published: only if it is told to
    with pytest.raises(ValueError, match="does not play route"):
        skeleton_of_thought("p", outliner()[1], Budget(), router=1)


def test_every_method_is_in_the_table_and_says_what_it_is() -> None:
    for name, method in METHODS.items():
        assert name == method.name and method.about and method.forks and method.sees and method.joins
        assert set(method.needs) and method.where
    assert len(METHODS) >= 18


def test_dice_are_the_players(seed: int = 3) -> None:
    assert Player("x", {}).seeded(seed).sampling == Sampling(temperature=1.0, seed=seed)
