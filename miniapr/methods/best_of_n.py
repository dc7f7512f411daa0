"""Best-of-N: many tries, a judge picks one (Stiennon et al. 2020, arXiv 2009.01325; Cobbe et al. 2021, 2110.14168)."""

from __future__ import annotations

from typing import Any

from ..engine.request import Program
from .budget import Budget, Spend
from .judges import best
from .judging import scores
from .method import method
from .player import Player
from .self_consistency import tries


@method(
    "best-of-n",
    forks="once",
    sees="the prompt",
    joins="select",
    needs=("chain",),
    words={"judge": ("exact", "value", "confidence")},
    paper="Stiennon et al. 2020, arXiv 2009.01325; Cobbe et al. 2021, arXiv 2110.14168",
)
def best_of_n(problem: Any, player: Player, budget: Budget, width: int = 8, judge: str = "exact") -> Program:
    """Independent tries; a judge picks one.

    judge  "exact": the task's verifier, which makes this pass@N; "value": the model's own judgement, which is asked
           for within the same budget where the line does not say it itself; "confidence": the mean log-probability of
           the words
    """
    branches = yield from tries(problem, player, width)
    ended = yield Spend(branches, player["chain"], budget)
    scored = yield from scores(judge, problem, player, budget, branches)
    candidates = [player.candidate(problem, branch, score) for branch, score in zip(branches, scored, strict=True)]
    return best(candidates, judge, spent=any(done.finish == "length" for done in ended))
