"""Scores for lines of thought, by whichever judge: the model's own value or vote, its confidence, the exact verifier.

A question about a thought is put in a context of its own. Its answer costs tokens like every other, and who acts
upon it has waited for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.branch import Branch, Tree
from ..engine.operations import All, Release, Start
from ..engine.request import Machine, Operation, Program
from .budget import Budget, Spend, Wait
from .judges import likelihood
from .moves import fork
from .player import Player, State, written


@dataclass
class Scored(Operation):
    """Say what branches scored, to whoever draws the run; changes nothing. A score that is no number is not said.

    visits  how often a search came by; None: it does not count them
    """

    branches: Sequence[Branch]
    scores: Sequence[float]
    visits: int | None = None

    def begin(self, machine: Machine, tree: Tree) -> None:
        more = {} if self.visits is None else {"visits": self.visits}
        for branch, score in zip(self.branches, self.scores, strict=True):
            if math.isfinite(score):
                machine.log.emit("scored", tree, branch, score=score, **more)


def scores(
    judge: str,
    problem: Any,
    player: Player,
    budget: Budget,
    branches: Sequence[Branch],
    times: int = 1,
    role: str = "chain",
    texts: Sequence[str] | None = None,
) -> Program:
    """A score for each branch, the higher the better.

    times  answers of the model that are added up
    role   that reads the branches; what it knows the value of is not asked for
    texts  what they say, if not all that was written since the prompt
    """
    said = [written(branch) for branch in branches] if texts is None else list(texts)
    found = yield from _scores(judge, problem, player, budget, branches, times, role, said)
    yield Scored(branches, found)
    return found


def _scores(
    judge: str,
    problem: Any,
    player: Player,
    budget: Budget,
    branches: Sequence[Branch],
    times: int,
    role: str,
    said: Sequence[str],
) -> Program:
    if judge == "confidence":
        return [likelihood(branch.generated) for branch in branches]
    if judge == "exact":
        assert player.check
        return [float(player.check(problem, player.answer(problem, text, role))) for text in said]
    if judge == "vote":
        heard = yield from ask(problem, player, budget, "vote", branches, said, times)
        count = Counter(number for number in heard if number is not None)
        return [float(count[number]) for number in range(len(branches))]
    return (
        yield All([_value(problem, player, budget, *line, times, role) for line in zip(branches, said, strict=True)])
    )


def _value(problem: Any, player: Player, budget: Budget, branch: Branch, text: str, times: int, role: str) -> Program:
    """The sum of ``times`` answers, as Tree-of-Thoughts adds them up; those that the budget has not are worth 0."""
    state = player[role].read(problem, text)
    if isinstance(state, State) and state.value is not None:
        return times * state.value
    return sum((yield from ask(problem, player, budget, "value", [branch], [text], times)), 0.0)


def ask(
    problem: Any,
    player: Player,
    budget: Budget,
    role: str,
    about: Sequence[Branch],
    texts: Sequence[str],
    times: int = 1,
) -> Program:
    """Put a role's question about some branches, several ``times`` after one prefill of it. Gives what the answers
    mean; none once the budget is spent. The branches have waited for the answers then."""
    if not about or not budget.left(about[0].request):
        return []
    root = yield Start(player[role].ask(problem, *texts), player.greedy if times == 1 else player.sampling)
    yield Wait([root], about)
    asked = [root]
    if times > 1:
        asked = (yield from fork(root, min(times, budget.width))) or [root]
    ended = yield Spend(asked, player[role], budget)
    yield Wait(about, asked)
    yield Release([root])
    return [player[role].read(problem, done.text) for done in ended if done.tokens]
