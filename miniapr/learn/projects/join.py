"""The open task "join": pay for what a join keeps and computes, and for wrong answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...engine.branch import Branch
from ...engine.engine import Engine
from ...engine.joins import JOINS, Join, Merge
from ...engine.operations import Settle
from ...engine.request import Program
from ...methods.budget import Budget
from ...methods.play import play
from ...methods.table import METHODS
from ...model.bundle import load
from ...players.choose import game_of
from . import Project, Score, mean_cost
from .own import function

PROBLEMS, WRONG, AGAIN = 12, 400, 4
TEXT = f"""\
Write `join(parent, branches) -> Merge`: a rule by which branches become one again, as in exercises 6.1 and 7.1,
where you see what a branch knows: `branch.own`, `branch.position`, `branch.text` and the rest.

The shipped model thinks about {PROBLEMS} held-out Countdown problems, forked; your rule joins its threads. A
problem costs

    the keys that the conclusion attends to  +  {AGAIN} x the tokens that are computed again,

or {WRONG} where the answer is wrong (or the rule raised). The less the better.

All branches have their keys and values when your rule is asked. Which of what they wrote does a conclusion have
to read?"""


def score(rule: Join) -> Score:
    """Of a rule, on the problems of this task."""
    bundle = load("countdown")
    game, dice, budget = game_of(bundle, temperature=0.0), random.Random(0), Budget(800)
    assert game.draw and game.player.check
    engine = Engine(bundle.model, bundle.tokenizer)
    costs, right, keys, again = list[float](), 0, list[float](), list[float]()
    while len(costs) < PROBLEMS:
        problem, seen = game.draw(dice, 3, "pairs"), list[Merge]()
        program = _settled(METHODS["multiverse"](problem, game.player, budget, join=_noting(rule, seen)))
        try:
            outcome = play(engine, program, budget)
            correct = outcome is not None and game.player.check(problem, outcome.answer)
        except Exception as error:
            raise ValueError(f"the join failed on {game.show(problem)}: {type(error).__name__}: {error}") from error
        if not seen:  # solved in line: nothing was joined
            continue
        right += correct
        keys.append(sum(len(merge.view) + len(merge.compute) for merge in seen))
        again.append(sum(merge.again for merge in seen))
        costs.append(keys[-1] + AGAIN * again[-1] if correct else WRONG)
    says = f"{right} of {PROBLEMS} right, {mean_cost(keys)} keys, {mean_cost(again)} computed again"
    return Score(mean_cost(costs), says)


def _noting(rule: Join, seen: list[Merge]) -> Join:
    """The same rule; what it made is noted."""

    def join(parent: Branch, branches: Sequence[Branch]) -> Merge:
        merge = rule(parent, branches)
        if not isinstance(merge, Merge):
            raise ValueError(f"a join gives a Merge, this one {type(merge).__name__}")
        seen.append(merge)
        return merge

    return join


def _settled(program: Program) -> Program:
    """A program whose branches have all their keys and values when they are joined."""
    value: Any = None
    while True:
        try:
            operation = program.send(value)
        except StopIteration as end:
            return end.value
        branches = getattr(operation, "branches", None)
        if type(operation).__name__ == "Join" and branches:
            yield Settle(branches)
        value = yield operation


PROJECT = Project(
    "join",
    "A join that costs less",
    TEXT,
    "keys, and what is computed again",
    {name: (lambda name=name: score(JOINS[name])) for name in ("stitch", "stitch_contiguous", "reprefill")},  # type: ignore[misc]
    lambda file: score(function(Path(file), "join")),
)
