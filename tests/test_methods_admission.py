"""The width of a step: what the budget can end, and what a batch has room for, under load."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import END, Scripted, role
from taught import texts, whole
from test_methods_forking import WORDS, lines
from test_methods_nested import Writer, planner

from miniapr.engine.request import Request
from miniapr.engine.sampling import Sampling
from miniapr.methods.admission import Admission, rows_within, share
from miniapr.methods.blocks import multiverse
from miniapr.methods.budget import Budget
from miniapr.methods.outcome import Outcome
from miniapr.methods.player import Player
from miniapr.methods.self_consistency import budget_aware, self_consistency

LENGTH = 10  # words of a try, its end included


def write(words: list[str]) -> str:
    return "w" if len(words) < LENGTH else END


def player_of(engine: Scripted) -> Player:
    chain = role(engine, lambda problem: "go", lambda problem, text: text or None)
    return Player("a writer", {"chain": chain}, sampling=Sampling(temperature=1.0))


@pytest.mark.parametrize(("tokens", "ended"), [(100, 8), (80, 8), (79, 7), (35, 3), (10, 1), (9, 0), (0, 0)])
def test_the_budget_is_spent_on_tries_that_end(tokens: int, ended: int) -> None:
    engine = Scripted(write)
    outcome = engine.play(budget_aware, player_of(engine), Budget(tokens), length=LENGTH)
    assert whole_tries(outcome) == ended and outcome.spent == (ended < 8)
    assert outcome.costs.decoded == min(tokens, 80)
    eager = Scripted(write)
    equal = eager.play(self_consistency, player_of(eager), Budget(tokens))
    assert whole_tries(equal) == (8 if tokens >= 80 else 7 if tokens == 79 else 0)


def whole_tries(outcome: Outcome) -> int:
    return sum(thought.decoded == LENGTH for thought in outcome.tree)


@pytest.mark.parametrize("guess", [1, 3, 10, 1000])
def test_what_has_ended_corrects_the_guess(guess: int) -> None:
    engine = Scripted(write)
    outcome = engine.play(budget_aware, player_of(engine), Budget(45), length=guess)
    assert whole_tries(outcome) == {1: 2, 3: 2, 10: 4, 1000: 4}[guess]  # too low begins too many, too high only waits


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(1, 40))
def test_shares_are_one_each_and_the_rest_in_turn(wanted: list[int], rows: int) -> None:
    given_ = share(wanted, rows)
    assert all(min(1, want) <= got <= want for got, want in zip(given_, wanted, strict=True))
    first = sum(min(1, want) for want in wanted)
    assert sum(given_) == max(first, min(rows, sum(wanted)))  # nothing is left lying
    short = [got for got, want in zip(given_, wanted, strict=True) if got < want]
    assert not short or max(given_) - min(short) <= 1


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(1, 6), st.none() | st.integers(1, 3))
def test_who_waits_loses_nothing(seed: int, rows: int, cap: int | None) -> None:
    """The same text, tokens and joins, whatever the width of a step; only more steps."""
    trace = Writer(seed).line(("think",), WORDS["eos"])
    engine, player = planner(lines(*(" ".join(text) for text in texts(trace))), num_blocks=1000)
    outcome = engine.play(multiverse, player, Budget(10_000, admission=Admission(rows, cap)))
    assert outcome.answer == " ".join([*whole(trace)][1:-1])
    assert (outcome.costs.decoded, outcome.costs.critical) == (trace.total, trace.critical)
    width: dict[int, int] = {}
    for event in engine.events:
        if event.kind == "decoded":
            width[event.step] = width.get(event.step, 0) + 1
    assert max(width.values()) <= min(rows, cap or rows)


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"cap": 0}])
def test_an_admission_of_nobody_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Admission(**wrong)


def test_the_rows_that_a_bound_leaves() -> None:
    steps = [(rows, 2.0 + 0.5 * rows) for rows in (1, 4, 9, 16)]
    assert rows_within(7.0, steps) == 10 and rows_within(1.0, steps) == 1
    with pytest.raises(ValueError, match="different sizes"):
        rows_within(1.0, [(3, 1.0), (3, 2.0)])


# Under load, by a clock that is only counted: a step takes BASE + EACH * rows seconds


BASE, EACH, BOUND = 1.0, 0.1, 2.05  # of a step: ten rows are within the bound
ROWS = rows_within(BOUND, [(1, BASE + EACH), (20, BASE + 20 * EACH)])


def goodput(admission: Admission | None, clients: int, each: int = 2) -> float:
    """Tokens a second of requests whose readers waited at most BOUND for a token, on the average. Every client asks for
    eight tries and a vote, again and again."""
    engine, budget = Scripted(write, num_blocks=600), Budget(10_000, admission=admission)
    player, clock = player_of(engine), 0.0
    asked, running, good = 0, dict[Request, tuple[float, int]](), 0
    while True:
        for request, (begun, step) in list(running.items()):
            if request.state != "running":
                good += request.cost.decoded * ((clock - begun) / (engine.steps - step) <= BOUND)
                del running[request]
        while asked < clients * each and len(running) < clients:
            program = self_consistency(None, player.seeded(asked), budget, width=8)
            running[engine.submit(program, budget.limits)] = clock, engine.steps
            asked += 1
        if not running:
            return good / clock
        clock += BASE + EACH * sum(event.data["rows"] for event in engine.step() if event.kind == "step")


def test_slack_keeps_the_bound_where_it_is_full_and_wastes_nothing_where_it_is_empty() -> None:
    found = {
        clients: (goodput(None, clients), goodput(Admission(cap=2), clients), goodput(Admission(ROWS), clients))
        for clients in (1, 4, 8)
    }
    eager, cap, slack = zip(*found.values(), strict=True)
    assert eager[0] > 0 and eager[1:] == (0, 0)  # alone it fits; together they are late, all of them
    assert cap[0] < 0.5 * eager[0] and cap[1] > 0 and cap[2] == 0  # too narrow, about right, too wide
    assert slack[0] >= 0.9 * eager[0] and slack[1] > cap[1] and slack[2] > 0
