"""Self-consistency: many tries, one vote (Wang et al. 2022, arXiv 2203.11171)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..engine.operations import Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from .budget import Budget, Spend
from .judges import vote
from .method import method
from .moves import fork
from .outcome import Outcome
from .player import Player


def tries(problem: Any, player: Player, width: int, sampling: Sampling | None = None) -> Program:
    """Fork once, after the prompt: its keys and values are computed once for all. Gives the branches; the one line
    that there is where none may fork."""
    root = yield Start(player["chain"].ask(problem), sampling or player.sampling)
    return (yield from fork(root, width)) or [root]


@method(
    "self-consistency",
    forks="once",
    sees="the prompt",
    joins="vote",
    needs=("chain",),
    paper="Wang et al. 2022, arXiv 2203.11171",
)
def self_consistency(problem: Any, player: Player, budget: Budget, width: int = 8) -> Program:
    """Independent tries; the most frequent answer wins. A try without an answer has no vote."""
    return (yield from _vote(problem, player, budget, width))


@method(
    "budget-aware",
    forks="within budget",
    sees="the prompt",
    joins="vote",
    needs=("chain",),
)
def budget_aware(problem: Any, player: Player, budget: Budget, width: int = 8, length: int = 64) -> Program:
    """Self-consistency that does not begin what it cannot end: where eight tries would all be cut short, three are
    written out and vote (ours; the width of a step as in TAPER, arXiv 2605.06914, with the budget as its bound).

    length  tokens that a try is expected to take, until the first has ended. Too much only makes others wait for it
    """
    return (yield from _vote(problem, player, replace(budget, length=length), width))


def _vote(problem: Any, player: Player, budget: Budget, width: int) -> Program:
    branches = yield from tries(problem, player, width)
    ended = yield Spend(branches, player["chain"], budget)
    candidates = tuple(player.candidate(problem, branch) for branch in branches)
    return Outcome(vote(candidates), candidates, "vote", spent=any(done.finish == "length" for done in ended))
