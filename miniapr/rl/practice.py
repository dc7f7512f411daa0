"""What a model is to get better at: problems, a way of thinking about them, and a judge that is always right."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.request import Program
from ..engine.sampling import Sampling
from ..methods.budget import Budget
from ..methods.outcome import Outcome
from ..methods.player import Player
from ..methods.table import METHODS
from ..model.bundle import Bundle
from ..players.choose import game_of
from ..tasks.task import Split


class Warm(Player):
    """Who explores: samples also where one line is written, which a player otherwise writes greedily."""

    @property
    def greedy(self) -> Sampling:
        return self.sampling


@dataclass(frozen=True)
class Practice:
    """think   (problem, seed) -> a program that thinks about the problem, with dice of its own
    judge   (problem, what the program gave) -> whether it is right
    draw    a problem of a split
    prompt  what a program begins with: rollouts of one problem share it
    serial  tokens of the problem solved in line by the task's teacher; None: nobody knows
    """

    think: Callable[[Any, int], Program]
    judge: Callable[[Any, Any], bool]
    draw: Callable[[random.Random, Split], Any]
    prompt: Callable[[Any], Sequence[int]]
    serial: Callable[[Any], int | None] = lambda problem: None


def practice(
    bundle: Bundle,
    method: str = "multiverse",
    join: str | None = None,
    counts: Sequence[int] = (),
    tokens: int = 600,
    width: int = 64,
    task: str | None = None,
    levels: int = 3,
) -> Practice:
    """A method on the task that a model was trained for; ``task``: another than the first of them.

    join    another than the method's own
    counts  problems have so many numbers, each as often as it is named; empty: as many as the model likes
    tokens  of one rollout, in all its branches
    levels  that a list's prompt speaks of
    Raises ValueError for a method or a join that is not known, or a task without a verifier.
    """
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
    game = game_of(bundle, task=task, levels=levels)
    draw, given = game.draw, game.player
    if draw is None or given.check is None:
        raise ValueError(f"{bundle.name} plays no task whose answers can be checked, so nothing can be rewarded")
    check, how, options = given.check, METHODS[method], {"join": join} if join else {}
    player = Warm(given.name, given.roles, check, given.sampling, given.control)
    player.require(how.needs)
    asks = player[next(need for need in how.needs if need in player.roles)]

    def judge(problem: Any, outcome: Any) -> bool:
        return isinstance(outcome, Outcome) and check(problem, outcome.answer)

    return Practice(
        lambda problem, seed: how(problem, player.seeded(seed), Budget(tokens=tokens, width=width), **options),
        judge,
        lambda dice, split: draw(dice, dice.choice(counts) if counts else None, split),
        asks.ask,
        game.serial,
    )
