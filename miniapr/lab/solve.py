"""A method on many problems, greedily: whether each is right, and what it cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine.engine import Engine
from ..engine.request import Program
from ..engine.sampling import Sampling
from ..examine.shares import share
from ..methods.budget import Budget
from ..methods.play import play_all
from ..methods.player import Player
from ..model.bundle import Bundle

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
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=8192)
    outcomes = play_all(engine, [think(problem, player, budget) for problem in problems], budget, AT_ONCE)
    costs = [outcome.costs for outcome in outcomes]
    right = [check(problem, outcome.answer) for problem, outcome in zip(problems, outcomes, strict=True)]
    return [Solved(r, c.largest_context, c.critical, c.decoded) for r, c in zip(right, costs, strict=True)]


def figures(solved: Sequence[Solved]) -> dict[str, Any]:
    return {
        "right": share([one.right for one in solved]),
        "critical": round(statistics.mean(one.critical for one in solved), 1),
        "tokens": round(statistics.mean(one.tokens for one in solved), 1),
        "largest context": round(statistics.mean(one.context for one in solved), 1),
    }
