"""Best-of-N: many tries, a judge picks one (Stiennon et al. 2020, arXiv 2009.01325; Cobbe et al. 2021, 2110.14168)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.branch import Branch
from ..engine.request import Program
from .asking import values
from .budget import Budget, Spend
from .judges import best, likelihood
from .method import method
from .player import Player
from .self_consistency import tries

JUDGES = ("exact", "value", "confidence")


@method(
    "best-of-n",
    forks="always, once",
    sees="the prompt",
    joins="select, by a judge",
    needs=("chain",),
    paper="Stiennon et al. 2020, arXiv 2009.01325; Cobbe et al. 2021, arXiv 2110.14168",
)
def best_of_n(problem: Any, player: Player, budget: Budget, width: int = 8, judge: str = "exact") -> Program:
    """Independent tries; a judge picks one.

    judge  "exact": the task's verifier, which makes this pass@N; "value": the model's own judgement, which is asked
           for within the same budget; "confidence": the mean log-probability of the words
    """
    _check(player, judge)
    branches = yield from tries(problem, player, width)
    ended = yield Spend(branches, player["chain"], budget)
    scores = yield from _scores(problem, player, budget, judge, branches)
    candidates = [player.candidate(problem, branch, score) for branch, score in zip(branches, scores, strict=True)]
    return best(candidates, judge, spent=any(done.finish == "length" for done in ended))


def _check(player: Player, judge: str) -> None:
    if judge not in JUDGES:
        raise ValueError(f"no judge is called {judge!r}; there are {', '.join(JUDGES)}")
    if judge != "confidence":
        player.require((judge,))


def _scores(problem: Any, player: Player, budget: Budget, judge: str, branches: Sequence[Branch]) -> Program:
    if judge == "value":
        return (yield from values(problem, player, budget, branches, role="chain"))
    if judge == "confidence":
        return [likelihood(branch.generated) for branch in branches]
    assert player.check
    return [float(player.check(problem, player.candidate(problem, branch).answer)) for branch in branches]
