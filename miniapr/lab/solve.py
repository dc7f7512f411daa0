"""A method on many problems, greedily: whether each is right, and what it cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine.engine import Engine
from ..engine.request import Program
from ..engine.sampling import Sampling
from ..methods.budget import Budget
from ..methods.play import play_together
from ..methods.player import Player
from ..model.bundle import Bundle
from ..train.shares import share

AT_ONCE = 40  # problems in the engine together


@dataclass(frozen=True)
class Solved:
    """right    what the verifier said
    context  tokens that one token had before it, at most
    critical, tokens  written one after the other, and in all
    """

    right: bool
    context: int
    critical: int
    tokens: int


def solve(
    bundle: Bundle,
    player: Player,
    think: Callable[[Any, Player, Budget], Program],
    problems: Sequence[Any],
    budget: Budget,
) -> list[Solved]:
    """Each problem, with this budget, whatever temperature the player has."""
    check, player = player.check, replace(player, sampling=Sampling())
    assert check
    engine, found = Engine(bundle.model, bundle.tokenizer, num_blocks=8192), list[Solved]()
    for begin in range(0, len(problems), AT_ONCE):
        some = problems[begin : begin + AT_ONCE]
        outcomes = play_together(engine, [think(problem, player, budget) for problem in some], budget)
        for problem, outcome in zip(some, outcomes, strict=True):
            right, costs = check(problem, outcome.answer), outcome.costs
            found.append(Solved(right, costs.largest_context, costs.critical, costs.decoded))
    return found


def figures(solved: Sequence[Solved]) -> dict[str, Any]:
    return {
        "right": share([one.right for one in solved]),
        "critical": round(statistics.mean(one.critical for one in solved), 1),
        "tokens": round(statistics.mean(one.tokens for one in solved), 1),
        "largest context": round(statistics.mean(one.context for one in solved), 1),
    }
