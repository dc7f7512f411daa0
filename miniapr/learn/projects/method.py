"""The open task "method": a way of thinking that comes sooner to right answers than the table's, at one budget."""

from __future__ import annotations

import random
from pathlib import Path

from ...engine.engine import Engine
from ...methods.budget import Budget
from ...methods.method import Method, methods_of
from ...methods.play import play
from ...methods.table import METHODS
from ...model.bundle import load
from ...players.choose import game_of
from . import Project, Score, mean_cost

PROBLEMS, TOKENS = 16, 150
TEXT = f"""\
Write a method: a program as in chapters 9 to 12, under `@method(...)`. `docs/methods.md` says what each
operation gives; `miniapr methods NAME` says which roles one needs.

The shipped model plays it on {PROBLEMS} held-out Countdown problems of three numbers, with at most {TOKENS}
tokens for each, in all branches together. A problem costs the critical path of its answer, or {TOKENS} where
that is wrong. The less the better.

You may not ask the exact verifier (`needs` without "exact"): with it, any guess can be thrown away that is
wrong. What is cheap enough to be tried first, and when is it worth a fork?"""


def score(method: Method) -> Score:
    """Of a method, on the problems of this task. Raises ValueError for one that asks the verifier, or fails."""
    if "exact" in method.needs:
        raise ValueError(f"{method.name} asks the exact verifier: here nobody may")
    bundle = load("countdown")
    game, dice, budget = game_of(bundle), random.Random(0), Budget(TOKENS)
    assert game.draw and game.player.check
    engine = Engine(bundle.model, bundle.tokenizer)
    costs, right, decoded = list[float](), 0, list[float]()
    for number in range(PROBLEMS):
        problem, player = game.draw(dice, 3, "pairs"), game.player.seeded(number)
        try:
            outcome = play(engine, method(problem, player, budget), budget)
        except Exception as error:
            raise ValueError(
                f"{method.name} failed on {game.show(problem)}: {type(error).__name__}: {error}"
            ) from error
        assert outcome is not None
        correct = game.player.check(problem, outcome.answer)
        right += correct
        decoded.append(outcome.costs.decoded)
        costs.append(outcome.costs.critical if correct else TOKENS)
    says = f"{right} of {PROBLEMS} right, {mean_cost(decoded)} tokens in all branches"
    return Score(mean_cost(costs), says)


PROJECT = Project(
    "method",
    "A method that beats the table",
    TEXT,
    "tokens until the answer",
    {
        name: (lambda name=name: score(METHODS[name]))  # type: ignore[misc]
        for name in ("sequential", "self-consistency", "multiverse")
    },
    lambda file: score(methods_of(Path(file))[0]),
)
