"""Early cancel: the first try that the verifier accepts lets its siblings go (ours)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..engine.branch import Branch
from ..engine.request import Program
from .budget import Budget, Spend
from .judges import best
from .method import method
from .player import Player
from .self_consistency import tries


@method(
    "early-cancel",
    forks="once",
    sees="the prompt",
    joins="first right",
    needs=("chain", "exact"),
)
def early_cancel(problem: Any, player: Player, budget: Budget, width: int = 8) -> Program:
    """Independent tries; the first that the task's verifier accepts ends all others. The answer is that of best-of-N
    with the same judge, or another right one; the critical path is that of the shortest right try, not the longest."""

    def right(branch: Branch) -> bool:
        assert player.check
        return player.check(problem, player.candidate(problem, branch).answer)

    looked_at: dict[Branch, bool] = {}

    def cut(branches: Sequence[Branch]) -> Iterable[Branch]:
        for branch in branches:
            if not branch.decoding and branch not in looked_at:
                looked_at[branch] = right(branch)
        return [branch for branch in branches if branch.decoding] if any(looked_at.values()) else ()

    branches = yield from tries(problem, player, width)
    ended = yield Spend(branches, player["chain"], budget, cut)
    scores = [float(looked_at.get(branch, False)) for branch in branches]
    candidates = [player.candidate(problem, branch, score) for branch, score in zip(branches, scores, strict=True)]
    return best(candidates, "exact", spent=any(done.finish == "length" for done in ended))
