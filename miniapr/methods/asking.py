"""Questions about thoughts, each in a context of its own: is this going anywhere, which of these is the best?

An answer costs tokens like every other, and who acts upon it has waited for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..engine.branch import Branch
from ..engine.operations import All, Fork, Release, Settle, Start
from ..engine.request import Program
from .budget import Budget, Spend, wait_for
from .player import Player, written


def ask(problem: Any, player: Player, budget: Budget, role: str, about: Sequence[Branch], times: int = 1) -> Program:
    """Put a role's question about some branches, several ``times`` after one prefill of it. Gives what the answers
    mean; none once the budget is spent. The branches have waited for the answers then."""
    if not budget.left(about[0].request):
        return []
    texts = [written(branch) for branch in about]
    root = yield Start(player[role].ask(problem, *texts), player.greedy if times == 1 else player.sampling)
    wait_for([root], about)
    asked = [root]
    if times > 1:
        yield Settle([root])
        asked = yield Fork(root, times)
    ended = yield Spend(asked, player[role], budget)
    wait_for(about, asked)
    yield Release([root])
    return [player[role].read(problem, done.text) for done in ended if done.tokens]


def values(
    problem: Any, player: Player, budget: Budget, branches: Sequence[Branch], times: int = 1, role: str = "step"
) -> Program:
    """How good the model finds each branch: the sum over ``times`` answers, as Tree-of-Thoughts adds them up. What
    needs no asking is not asked; what could not be asked any more is worth 0."""

    def one(branch: Branch) -> Program:
        state = player[role].read(problem, written(branch))
        known = getattr(state, "value", None)
        if known is not None:
            return times * known
        heard = yield from ask(problem, player, budget, "value", [branch], times)
        return sum(heard, 0.0)

    return (yield All([one(branch) for branch in branches]))


def votes(problem: Any, player: Player, budget: Budget, branches: Sequence[Branch], times: int = 5) -> Program:
    """How many of ``times`` votes each branch gets. An invalid vote is nobody's."""
    heard = yield from ask(problem, player, budget, "vote", branches, times)
    count = Counter(number for number in heard if number is not None and 0 <= number < len(branches))
    return [float(count[number]) for number in range(len(branches))]
