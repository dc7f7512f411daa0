"""Tree-of-Thoughts: thoughts are steps; the model proposes and judges them, a search keeps the best
(Yao et al. 2023, arXiv 2305.10601)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from ...engine.branch import Branch
from ...engine.operations import Start
from ...engine.request import Program
from ..budget import Budget, Wait
from ..judges import best
from ..method import method
from ..outcome import Outcome
from ..player import Player, State
from .thoughts import Growing, Thought, prune

TIMES = {"value": 3, "vote": 5}  # answers that are asked for and added up, as published
WORDS = {"generate": ("propose", "sample"), "evaluate": TIMES}
ROW = {
    "forks": "the search",
    "sees": "its line",
    "joins": "select",
    "needs": ("step",),
    "paper": "Yao et al. 2023, arXiv 2305.10601",
}


@method("tree-of-thoughts", **ROW, words={**WORDS, "select": ("greedy", "sample")})
def tree_of_thoughts(
    problem: Any,
    player: Player,
    budget: Budget,
    width: int = 5,
    children: int = 8,
    steps: int = 4,
    generate: str = "propose",
    evaluate: str = "value",
    times: int | None = None,
    select: str = "greedy",
) -> Program:
    """Breadth first: all thoughts of a step are judged, the best ``width`` go on. A place that two lines come to in
    the same step is kept once, and a place is valued once, whoever comes to it later.

    evaluate  "value": each thought by itself; "vote": all of a step side by side
    times     answers that are added up; None: 3 values or 5 votes
    select    "greedy": the best; "sample": drawn without replacement by their scores
    """
    growing = Growing(problem, player, budget, generate, children)
    root = yield Start(player["step"].ask(problem), player.sampling)
    frontier, ended = [Thought(root, State(None))], list[Thought]()
    dice = random.Random(f"{player.sampling.seed}/tree")
    for _ in range(steps):
        grown = yield from growing.grow(frontier)
        yield from growing.judge(grown, evaluate, times or TIMES[evaluate])
        ended += [thought for thought in grown if thought.state.final]
        kept = _keep(grown, width, dice if select == "sample" else None)
        yield from prune([thought for thought in grown if thought not in kept])
        frontier = [thought for thought in kept if not thought.state.final]
        if not frontier:
            break
        yield Wait([thought.branch for thought in frontier], [thought.branch for thought in grown])
    return _outcome(root, ended, evaluate, budget)


@method("tree-of-thoughts-dfs", **ROW, words=WORDS)
def tree_of_thoughts_dfs(
    problem: Any,
    player: Player,
    budget: Budget,
    children: int = 8,
    steps: int = 4,
    generate: str = "propose",
    evaluate: str = "value",
    times: int | None = None,
    bar: float = 0.001,
) -> Program:
    """Depth first: on with the best child, back where all look hopeless; the first line that ends well is the answer.

    bar  a thought is pruned whose mean score is not above it
    """
    growing = Growing(problem, player, budget, generate, children)
    least = bar * (times or TIMES[evaluate])
    ended, visited = list[Thought](), list[Branch]()

    def visit(thought: Thought, left: int) -> Program:
        """Whether a line below ended well."""
        if thought.state.final:
            ended.append(thought)
            return True
        if not left or not budget.left(thought.branch.request):
            return False
        yield Wait([thought.branch], visited)  # what was tried before it was in its way
        grown = yield from growing.grow([thought])
        yield from growing.judge(grown, evaluate, times or TIMES[evaluate])
        visited.extend(child.branch for child in grown)
        hopeful = [child for child in grown if child.score > least]
        yield from prune([child for child in grown if child not in hopeful])
        for child in _keep(hopeful, len(hopeful)):
            if (yield from visit(child, left - 1)):
                return True
            yield from prune([child])
        return False

    root = yield Start(player["step"].ask(problem), player.sampling)
    yield from visit(Thought(root, State(None)), steps)
    return _outcome(root, ended, evaluate, budget)


def _keep(thoughts: Sequence[Thought], width: int, dice: random.Random | None = None) -> list[Thought]:
    """The best, of equals the first; with dice drawn without replacement, as likely as their scores are high."""
    left, kept = sorted(thoughts, key=lambda thought: -thought.score), list[Thought]()
    while left and len(kept) < width:
        weights = [max(thought.score, 0.0) for thought in left]
        drawn = dice.choices(range(len(left)), weights)[0] if dice and sum(weights) else 0
        kept.append(left.pop(drawn))
    return kept


def _outcome(root: Branch, ended: Sequence[Thought], judge: str, budget: Budget) -> Outcome:
    return best([thought.candidate for thought in ended], judge, spent=not budget.left(root.request))
