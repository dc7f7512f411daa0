"""Whatever a model writes has a defined result, in every method of the table, and costs no token more than given."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted, role
from taught import Taught
from test_methods_forking import WORDS

from miniapr.engine.operations import Decode, Fork, Start
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling
from miniapr.methods.admission import Admission
from miniapr.methods.async_think import Action
from miniapr.methods.blocks import multiverse
from miniapr.methods.budget import Budget, Spend
from miniapr.methods.calls import apr, recursive
from miniapr.methods.grammar import Control, read_plan
from miniapr.methods.method import Method, method
from miniapr.methods.outcome import Outcome
from miniapr.methods.play import play
from miniapr.methods.player import Player, Role, State
from miniapr.methods.skeleton import read_points
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.tasks import states

TAGS = list(WORDS.values())
Hostile = Callable[[list[str]], str]


def cycle(*words: str) -> Hostile:
    return lambda said: words[len(said) % len(words)]


def nest(said: list[str]) -> str:
    """Opens a plan of two in every thread, for ever."""
    last = said[-1]
    after = {WORDS["plan"]: "left", "left": "right", "right": WORDS["plan_end"]}
    return after.get(last, WORDS["plan"]) if said[-2:] != [WORDS["thread"], last] else WORDS["plan"]


def endless(said: list[str]) -> str:
    return ["left", "a+b", "b"][len(said) % 3] if WORDS["plan"] in said else WORDS["plan"]


def chance(seed: int) -> Hostile:
    dice = random.Random(seed)
    return lambda said: dice.choice([*TAGS, "a", "7", "left", "a+b", "hit"])


KINDS: dict[str, Callable[[int], Hostile]] = {
    "ends of what was never begun": lambda seed: cycle(WORDS["thread_end"], WORDS["plan_end"], WORDS["join"]),
    "a plan that does not end": lambda seed: endless,
    "numbers that do not end": lambda seed: lambda said: "7" if len(said) % 9 else "400",
    "openings in openings": lambda seed: nest,
    "calls for ever": lambda seed: cycle(WORDS["plan"], "a+b", WORDS["plan_end"], WORDS["join"]),
    "a thread in no plan": lambda seed: cycle(WORDS["thread"], "left", WORDS["item"], WORDS["thread"]),
    "chance": chance,
}


def of_all_roles(script: Hostile, **options: Any) -> tuple[Scripted, Player]:
    """It plays everything, and makes something of every text."""
    engine = Scripted(script, **{"num_blocks": 2000, **options})
    control = Control.of(engine.words, WORDS)  # type: ignore[arg-type]
    fork = engine.words.id("a")

    def plain(name: str, read: Callable[[Any, str], Any] = lambda problem, text: text or None, **more: Any) -> Role:
        return role(engine, lambda *asked: " ".join((name, *map(str, asked[1:]))), read, WORDS["eos"], **more)

    def stands(problem: Any, text: str) -> State | None:
        words = text.split()
        return State(tuple(words), len(words) > 6, text) if words else None

    def action(problem: Any, text: str) -> Action | None:
        return Action("fork" if "a" in text else "join", len(text) % 3, text) if text else None

    texts = dict.fromkeys(
        ("chain", "point", "expand", "conclude", "sort", "merge", "improve", "parent", "child"), plain
    )
    roles = {name: make(name) for name, make in texts.items()}
    more = (
        "adaptive",
        "paths",
        "agent",
        "returned",
        "counted",
        "thinker",
        "header",
        "nudge",
        "finish",
        "path",
        "summary",
    )
    roles |= {name: plain(name) for name in more}
    roles |= {
        "step": plain("step", stands, most=3),
        "teammate": plain("teammate", stands, most=5),
        "propose": plain("propose", lambda problem, text: [engine.words.encode(word) for word in text.split()]),
        "value": plain("value", lambda problem, text: float(len(text) % 2)),
        "vote": plain("vote", lambda problem, text: len(text) % 3),
        "route": plain("route", lambda problem, text: len(text) % 5 > 0),
        "skeleton": plain("skeleton", lambda problem, text: text.split()),
        "split": plain("split", lambda part, text: [f"{part}{word}" for word in text.split()][:3]),
        "apart": plain("apart", lambda part, text: part),
        "outline": plain("outline", lambda problem, text: (text, [fork] if "a" in text or "7" in text else None)),
        "organizer": plain("organizer", action),
        "call": plain("call", lambda part, text: [f"{part}{word}" for word in text.split()]),
    }
    player = Player("all", roles, lambda problem, answer: answer == "right", Sampling(temperature=1.0), control)
    return engine, player


def defined(outcome: Outcome, budget: Budget) -> None:
    """What every method owes, whatever it has read."""
    assert outcome.answer is None or isinstance(outcome.answer, str)
    assert outcome.costs.decoded <= budget.tokens
    assert outcome.costs.critical <= outcome.costs.decoded
    assert budget.critical is None or outcome.costs.critical <= budget.critical
    assert sum(thought.decoded for thought in outcome.tree) == outcome.costs.decoded
    assert isinstance(outcome.spent, bool)


BUDGETS = st.builds(
    Budget,
    tokens=st.integers(0, 90),
    critical=st.none() | st.integers(0, 30),
    depth=st.integers(0, 6) | st.just(64),
    length=st.none() | st.integers(0, 20),
    admission=st.none() | st.builds(Admission, rows=st.none() | st.integers(1, 5), cap=st.none() | st.integers(1, 3)),
)
TEXTS = st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 10**6)).map(lambda drawn: KINDS[drawn[0]](drawn[1]))


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=8)
@given(script=TEXTS, budget=BUDGETS)
def test_F49_hostile_text_has_a_defined_result_within_the_budget(name: str, script: Hostile, budget: Budget) -> None:
    engine, player = of_all_roles(script)
    defined(engine.play(METHODS[name], player, budget, "p"), budget)


@pytest.mark.parametrize("task", ["countdown", "sorting"])
@settings(max_examples=15)
@given(name=st.sampled_from(sorted(METHODS)), script=TEXTS, budget=BUDGETS)
def test_F49_the_players_of_trained_models_read_it_too(task: str, name: str, script: Hostile, budget: Budget) -> None:
    game = hostile_game(script, task)
    problem = states.State((8, 7, 3), 29) if task == "countdown" else (5, 3, 9, 1, 7, 2, 2, 8, 4)
    try:
        METHODS[name](problem, game[1], budget)
    except ValueError as error:
        assert "does not play" in str(error)
        return
    defined(game[0].play(METHODS[name], game[1], budget, problem), budget)


def hostile_game(script: Hostile, task: str) -> tuple[Scripted, Player]:
    engine = Taught(lambda prompt: pytest.fail("nobody is asked"), num_blocks=2000)
    known = {WORDS["plan_end"]: "</plan>", WORDS["thread_end"]: "</thread>", WORDS["item"]: "<unk>"}
    back = {mine: yours for yours, mine in known.items()}
    words = engine.tokenizer

    def said(text: list[str]) -> str:
        word = script([back.get(word, word) for word in text])
        word = known.get(word, word)
        return word if word.isdigit() or words._inner.token_to_id(word) is not None else "<unk>"

    engine.script = said
    return engine, game_of(engine.bundle, task=task).player


def test_as_deep_as_the_budget_lets_it_and_no_deeper() -> None:
    engine, player = of_all_roles(nest)
    budget = Budget(400)
    outcome = play(engine, multiverse("p", player, budget, width=1), budget)
    assert outcome is not None
    levels = {0: 0}
    for thought in outcome.tree[1:]:
        assert thought.parent is not None
        levels[thought.branch] = levels[thought.parent] + 1
    assert max(levels.values()) == 64


@pytest.mark.parametrize("calls", [apr, recursive])
def test_frames_as_deep_as_the_budget_lets_them(calls: Method) -> None:
    engine, player = of_all_roles(cycle(WORDS["plan"], "a", WORDS["plan_end"]), num_blocks=4000)
    budget = Budget(300)
    outcome = play(engine, calls("p", player, budget, levels=100, width=1), budget)
    assert outcome is not None and len(outcome.tree) > 60
    defined(outcome, budget)


def test_plans_of_ten_thousand_items_are_cut_and_told() -> None:
    control = Control(*range(6), item=6)
    items = itertools.chain.from_iterable((control.item or 0, 10 + n) for n in range(10_000))
    plan = read_plan([control.plan, *items, control.plan_end], control, 24)
    assert len(plan.items) == 24 and len(plan.ignored) == 10_001 - 24
    assert len(read_points("\n".join(f"{n}. point {n}" for n in range(10_000)), 8)) == 8
    part = "a+b " * 10_000
    _, player = hostile_game(nest, "countdown")
    assert len(player["call"].read(states.State((8, 7, 3), 29), f"<plan> {part} </plan>")) == 1
    engine, wide = of_all_roles(lambda said: WORDS["plan_end"])
    names = {**wide.roles, "call": Role(wide["call"].ask, lambda part, text: [str(n) for n in range(10_000)])}
    outcome = engine.play(apr, Player("wide", names, control=wide.control), Budget(60), "p")
    assert len(outcome.tree) == 1 + 24


# Negative controls: the same test finds what is wrong with these


@method("trusting", forks="never", sees="-", joins="-")
def trusting(problem: Any, player: Player, budget: Budget) -> Program:
    """Reads a number out of whatever was written."""
    root = yield Start(player["chain"].ask(problem))
    (done,) = yield Spend([root], player["chain"], budget)
    return Outcome(str(int(done.text)))


@method("impatient", forks="once", sees="the prompt", joins="-")
def impatient(problem: Any, player: Player, budget: Budget) -> Program:
    """Decodes beside its budget."""
    root = yield Start(player["chain"].ask(problem))
    for branch in (yield Fork(root, 3)):
        yield Decode([branch], max_tokens=9)
        root.critical = max(root.critical, branch.critical)
    return Outcome(None)


def test_the_test_finds_a_method_that_trusts_what_it_reads() -> None:
    engine, player = of_all_roles(KINDS["openings in openings"](0))
    with pytest.raises(ValueError, match="invalid literal"):
        engine.play(trusting, player, Budget(9), "p")


def test_the_test_finds_a_method_that_spends_beside_its_budget() -> None:
    engine, player = of_all_roles(KINDS["numbers that do not end"](0))
    outcome = engine.play(impatient, player, budget := Budget(90, critical=5), "p")
    with pytest.raises(AssertionError):
        defined(outcome, budget)
