"""What a method cannot do is said in a sentence before it starts: no token is decoded, and no branch begun."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from test_methods_forking import WORDS
from test_methods_hostile import cycle, of_all_roles

from miniapr.engine.joins import stitch
from miniapr.engine.operations import Fork, Start
from miniapr.engine.request import Program
from miniapr.methods import moves
from miniapr.methods.blocks import multiverse
from miniapr.methods.budget import Budget, Spend
from miniapr.methods.method import KEYS, SERVER, Method, method
from miniapr.methods.options import DEMANDS, WHOLE
from miniapr.methods.outcome import Outcome
from miniapr.methods.player import Player
from miniapr.methods.table import METHODS
from miniapr.remote.lacks import ALWAYS, CONTROL

READER = cycle("a")  # a model that says the same whatever it reads
JOINED = [name for name, one in METHODS.items() if "join" in one.options]


def refused(name: str, budget: Budget | None = None, context: int | None = None, **options: Any) -> str:
    """Why, of a player who plays everything."""
    engine, player = of_all_roles(READER)
    player = replace(player, context=context)
    with pytest.raises(ValueError) as error:
        METHODS[name]("p", player, budget or Budget(1000), **options)
    assert not engine.events and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("join", ["foo", "select", "", "Stitch"])
def test_a_join_that_there_is_not_is_refused(name: str, join: str) -> None:
    said = refused(name, join=join)
    assert repr(join) in said and (name == "graph-of-thoughts" or all(one in said for one in WHOLE))


def test_a_join_of_ones_own_is_a_join() -> None:
    engine, player = of_all_roles(READER)
    engine.play(multiverse, player, Budget(20), "p", join=stitch)


@pytest.mark.parametrize("rule", ["foo", lambda parent, branches: 1 / 0])
def test_only_what_has_no_room_is_gone_on_without(rule: Any) -> None:
    """A join that cannot be made ends the program; one for which the context has no room is answered with no."""
    engine, _ = of_all_roles(READER)

    def program(how: Any, then: int) -> Program:
        root = yield Start([1, 2])
        children = yield Fork(root, [[3], [4]])
        return (yield from moves.join(root, children, how, [5] * then))

    assert engine.run(program("stitch", 1)) is True
    assert engine.run(program("stitch", 5000)) is False
    with pytest.raises((ValueError, ZeroDivisionError)):
        engine.run(program(rule, 1))


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("deepconf-online", {"width": 60}, "width + more 76"),
        ("deepconf-online", {"more": 49}, "width + more 65"),
        ("tree-of-thoughts", {"times": 65}, "times 65"),
        ("tree-of-thoughts-dfs", {"evaluate": "vote", "times": 100}, "times 100"),
        ("mcts", {"rollouts": 65}, "rollouts 65"),
        ("apr", {"children": 65}, "children 65"),
        ("parathinker", {"width": 65}, "width 65"),
    ],
)
def test_no_fork_is_wider_than_the_budget(name: str, options: dict[str, Any], named: str) -> None:
    assert named in refused(name, **options) and "limit on width is 64" in refused(name, **options)


@pytest.mark.parametrize("name", ["tree-of-thoughts", "tree-of-thoughts-dfs"])
@pytest.mark.parametrize("evaluate", ["value", "vote"])
def test_answers_that_nobody_asked_for_give_way_to_the_width(name: str, evaluate: str) -> None:
    """By themselves they ask three or five times."""
    engine, player = of_all_roles(cycle("a", "b", WORDS["eos"]))
    options = {"width": 2} if "width" in METHODS[name].options else {}
    options |= {"children": 1, "generate": "sample", "evaluate": evaluate}
    engine.play(METHODS[name], player, Budget(200, width=2), "p", **options)
    assert {len(event.data["children"]) for event in engine.events if event.kind == "forked"} == {1, 2}


def test_a_fork_that_is_too_wide_is_no_lack_of_room() -> None:
    engine, _ = of_all_roles(READER)

    def program() -> Program:
        root = yield Start([1, 2])
        return (yield from moves.fork(root, [[3]] * 65))

    with pytest.raises(ValueError, match="65 branches asked for, the limit on width is 64"):
        engine.run(program())


NUMBERS = [
    (name, option, default)
    for name, one in METHODS.items()
    for option, default in one.options.items()
    if isinstance(default, int | float)
]


@pytest.mark.parametrize(("name", "option", "default"), NUMBERS)
def test_every_number_is_finite_and_not_below_its_least(name: str, option: str, default: float) -> None:
    wrong = (-1, -0.5, math.nan, math.inf, -math.inf) if isinstance(default, float) else (-1,)
    for value in wrong:
        said = refused(name, **{option: value})
        assert f"{option} of {name} must be at least" in said and f"is {value}" in said


@pytest.mark.parametrize(
    ("name", "option"),
    [("mcts", "iterations"), ("tree-of-thoughts", "steps"), ("tree-of-thoughts", "times"), ("asyncthink", "actions")],
)
def test_none_is_nothing_of_what_makes_a_method(name: str, option: str) -> None:
    assert f"{option} of {name} must be at least 1, is 0" in refused(name, **{option: 0})


@pytest.mark.parametrize("name", ["hogwild", "parathinker", "npr"])
def test_a_reserve_leaves_something_of_the_budget(name: str) -> None:
    for reserve in (1000, 5000):
        said = refused(name, reserve=reserve)
        assert f"keep {reserve} tokens" in said and "the budget has 1000" in said
    engine, player = of_all_roles(READER)
    METHODS[name]("p", player, Budget(1000), reserve=999).close()
    METHODS[name]("p", player, Budget(20)).close()  # what was not asked for gives way
    assert not engine.events


def test_slots_lie_within_what_the_model_sees() -> None:
    said = refused("group-think", context=4096, thoughts=100_000)
    assert "4 slots of 100000 tokens" in said and "the model sees 4096" in said
    assert "leave it none" in refused("group-think", thoughts=1)
    engine, player = of_all_roles(READER)
    player = replace(player, context=4096)
    for options in ({"thoughts": 1300}, {"thoughts": 100_000, "positions": "shared"}):
        METHODS["group-think"]("p", player, Budget(100), **options).close()  # type: ignore[arg-type]
    assert not engine.events


def test_words_that_a_method_lists_are_those_that_it_takes() -> None:
    engine, player = of_all_roles(READER)
    for one in METHODS.values():
        for option, words in one.words.items():
            assert one.options[option] in words and set(words) <= set(DEMANDS.get(option, words))
            for word in words:
                one("p", player, Budget(100), **{option: word}).close()
            assert option in refused(one.name, **{option: "taste"})
    assert not engine.events


def test_where_a_method_runs_is_what_it_demands() -> None:
    for one in METHODS.values():
        assert (one.where == SERVER) == (not one.demands({}) & ALWAYS), one.name
        for join in DEMANDS["join"] if "join" in one.options else ():
            assert (KEYS in one.demands({"join": join})) == join.startswith("stitch")
    METHODS["multiverse"].check_engine(ALWAYS, {"join": "reprefill"})
    with pytest.raises(ValueError, match=r"multiverse needs keys and values .*; it can do with join=reprefill"):
        METHODS["multiverse"].check_engine(ALWAYS, {})
    with pytest.raises(ValueError, match=r"log-probabilities .*; it can do with judge=exact or judge=value"):
        METHODS["best-of-n"].check_engine(ALWAYS, {"judge": "confidence"})
    with pytest.raises(ValueError, match="apr follows control tokens"):
        METHODS["apr"].check_engine([CONTROL], {})


@pytest.mark.parametrize("name", METHODS)
def test_where_the_critical_path_ends_it_the_outcome_says_so(name: str) -> None:
    engine, player = of_all_roles(READER)
    assert engine.play(METHODS[name], player, Budget(1000, critical=0), "p").spent
    assert engine.play(METHODS[name], player, Budget(1000, critical=2), "p").spent


def test_a_critical_path_that_nobody_needed_in_full_is_not_spent() -> None:
    @method("short", forks="never", sees="-", joins="-")
    def short(problem: Any, player: Player, budget: Budget) -> Program:
        root = yield Start([1])
        yield Spend([root], player["chain"], budget, most=2)
        return Outcome(None)

    engine, player = of_all_roles(READER)
    assert not engine.play(short, player, Budget(1000, critical=3), "p").spent
    assert engine.play(short, player, Budget(1000, critical=1), "p").spent


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"forks": "once", "sees": "-"}, "'mine'. must say joins"),
        ({}, "must say forks, sees, joins"),
        ({"forks": "-", "sees": "-", "joins": "-", "role": ()}, "there is no role"),
        ({"forks": "-", "sees": "-", "joins": "-", "needs": "chain"}, "needs is a tuple, such as ..chain.,."),
    ],
)
def test_a_row_that_says_too_little_is_told_in_a_sentence(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        method("mine", **row)


def test_a_threshold_of_ones_own_may_be_below_zero() -> None:
    def mine(problem: Any, player: Player, budget: Budget, bar: float = -2.0) -> Program:
        yield Start([1])
        return Outcome(None)

    engine, player = of_all_roles(READER)
    own = Method("mine", mine, "never", "-", "-")
    engine.play(own, player, bar=-3.0)
    with pytest.raises(ValueError, match="bar of mine must be finite, is nan"):
        own("p", player, Budget(), bar=math.nan)
