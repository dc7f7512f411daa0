"""What a fork is worth while the machine is busy: told how many slots are free, or held back by the scheduler."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

from ..engine.engine import Engine
from ..examine.shares import share
from ..methods.admission import Admission
from ..model.bundle import Bundle
from ..players.choose import game_of
from ..tasks.states import State
from .experiment import Aim, Experiment
from .load import Answer, Counted, Desk, Live, Put, Scale, arrivals, scale, serve
from .replay import Replayed, played
from .report import Found, Report
from .slots import TAUGHT, TOLD

LOADS = (0.1, 0.25, 0.4)
ARRIVALS = 3  # seeds of who comes when
ROW = 0.03  # of a step with none: what one row adds. Here 1.85 ms and 0.059 ms a row were measured
SLACK = Counted(1.0, ROW).slack(2.0)  # rows of a step that takes twice as long as one of a single row


def says(free: int) -> Put:
    """The same whatever is free."""
    return lambda problem, _: replace(problem, free=free)


def tells(problem: State, free: int) -> State:
    """The largest number that was taught and is free."""
    return replace(problem, free=max(number for number in TOLD if number <= free))


@dataclass(frozen=True)
class Policy:
    """``put``: what a prompt says; ``rows``: of a step, beyond which the scheduler holds branches back."""

    name: str
    put: Put
    rows: int | None = None


POLICIES = (
    Policy("in line", says(1)),
    Policy("three at a time", says(3)),
    Policy("all at once", says(9)),
    Policy("all at once, admitted", says(9), SLACK),
    Policy("told", tells),
)


def name(load: float, policy: str) -> str:
    return f"load {load}, {policy}"


def examine(bundle: Bundle, count: int) -> Found:
    """A quarter of ``count`` problems, and as many arrivals of each seed, the same for every policy; by a counted
    clock. Where nobody gives way, what was played once is replayed."""
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=8192, max_batch_tokens=8192, reuse_prefixes=False)
    game, dice, found = game_of(bundle, temperature=0.0), random.Random("lab"), Found()
    assert game.draw
    problems = [game.draw(dice, 3) for _ in range(max(1, count // 4))]
    book = played(Live(engine, game), [says(free)(problem, 0) for problem in problems for free in TOLD])
    unit = scale(Replayed(book), [says(1)(problem, 0) for problem in problems], Counted(1.0, ROW), ROW)

    def desk(policy: Policy) -> Desk:
        return Live(engine, game, admission=Admission(policy.rows)) if policy.rows else Replayed(book)

    for load in LOADS:
        come = [arrivals(problems, unit.rate(load), len(problems), seed) for seed in range(ARRIVALS)]
        for policy in POLICIES:
            ended = [serve(desk(policy), some, Counted(1.0, ROW), policy.put, SLACK) for some in come]
            found[name(load, policy.name)] = told([answer for some in ended for answer in some], unit)
    return found


def told(answers: Sequence[Answer], unit: Scale) -> dict[str, Any]:
    """Times are in those of a line on an idle engine."""
    times = sorted(answer.seconds / unit.line for answer in answers)
    return {
        "right in time": share([answer.right and answer.seconds <= unit.line for answer in answers]),
        "right": share([answer.right for answer in answers]),
        "p50": round(median(times), 3),
        "p95": round(times[int(0.95 * len(times))], 3),
        "mean": round(mean(times), 3),
        "tokens": round(mean(answer.tokens for answer in answers), 1),
    }


def gain(report: Report, load: float, policy: str, over: str) -> float:
    """Of all requests, those that the one policy answers right and in time, minus those of the other."""
    mine, theirs = (report.mean("slots", name(load, which), "right in time") for which in (policy, over))
    return mine - theirs


LOW, MIDDLE, HIGH = LOADS
ALWAYS = ("in line", "three at a time", "all at once")

BUSY = Experiment(
    "busy",
    "One more branch makes a step longer for everybody (TAPER, arXiv 2605.06914): forking at once is right on an idle "
    "machine and wrong on a busy one. TAPER's scheduler holds branches back, and reports 1.48 times the goodput of "
    "letting all go on. But a branch that waits has to be written all the same; a plan that is not made has not. So "
    "the same weights, told how many slots are free, ought to do better. In time is whoever is answered within what a "
    "line takes on an idle engine, on average; load 1 would fill all of the time with the rows of lines.",
    (TAUGHT,),
    examine,
    (
        Aim("low load: told, minus in line", lambda r: gain(r, LOW, "told", "in line"), 0.1),
        Aim("high load: told, minus all at once", lambda r: gain(r, HIGH, "told", "all at once"), 0.1),
        Aim(
            "told, minus the best of those that never change, at the load where that is least",
            lambda r: min(gain(r, load, "told", over) for load in LOADS for over in ALWAYS),
            -0.02,
        ),
        Aim("middle load: told, minus admitted", lambda r: gain(r, MIDDLE, "told", "all at once, admitted"), 0.1),
        Aim(
            "high load: admitted, minus all at once",
            lambda r: gain(r, HIGH, "all at once, admitted", "all at once"),
            0.0,
        ),
    ),
)
