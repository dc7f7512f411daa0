"""Monte-Carlo tree search over steps of thought (RAP, Hao et al. 2023, arXiv 2305.14992; Xie et al. 2024,
arXiv 2405.00451)."""

from __future__ import annotations

from typing import Any

from ...engine.branch import Branch
from ...engine.operations import All, Release, Start
from ...engine.request import Program
from ..budget import Budget, Spend, Wait
from ..judges import best
from ..judging import Scored, scores
from ..method import method
from ..moves import fork
from ..outcome import Candidate, Outcome
from ..player import Player, State
from .bandit import POLICIES, Node, Policy, ask, lineage, merged, most_visited, tell
from .thoughts import Growing, Thought


@method(
    "mcts",
    forks="the search",
    sees="its line",
    joins="select",
    needs=("step", "chain"),
    words={
        "policy": POLICIES,
        "evaluate": ("rollout", "value"),
        "judge": ("value", "exact"),
        "output": ("best", "visited"),
    },
    paper="Hao et al. 2023, arXiv 2305.14992",
)
def mcts(
    problem: Any,
    player: Player,
    budget: Budget,
    width: int = 1,
    children: int = 3,
    iterations: int = 10,
    depth: int = 5,
    policy: str = "uct",
    weight: float = 1.0,
    evaluate: str = "rollout",
    judge: str = "value",
    rollouts: int = 1,
    trees: int = 1,
    output: str = "best",
) -> Program:
    """Select a leaf, look how good it is, let it grow, and tell all above it. The defaults are RAP's.

    width       leaves selected at once, kept apart by virtual loss
    children    steps that are sampled from a leaf; equal ones become one child with a higher prior
    iterations  simulations of each tree: leaves that are looked at, however many at once
    depth       steps below the problem: a leaf that deep grows no more
    policy      "uct" or "puct", with its exploration ``weight`` (RAP: 1; others sqrt 2)
    evaluate    "rollout": the line is written to its end, ``rollouts`` times, and that is judged; "value": the thought
                is, by the model
    judge       of an end: "value" (the model's, where the line does not say it itself) or "exact" (the verifier)
    trees       independent searches, added up at the end (root parallelism)
    output      "best": the end with the highest score; "visited": the end of the most visited path
    """
    root = yield Start(player["step"].ask(problem), player.sampling)
    roots = ((yield from fork(root, trees)) if trees > 1 else []) or [root]
    growing = Growing(problem, player, budget, "sample", children)
    searches = [_Search(growing, branch, evaluate, judge, rollouts, depth) for branch in roots]
    yield All([search.run(iterations, width, POLICIES[policy], weight) for search in searches])
    ends = [candidate for search in searches for candidate in search.ends]
    spent = not budget.left(root.request)
    if output == "visited":
        path = most_visited(merged([search.root for search in searches], lambda node: node.what.state.key))
        if path.what.state.final:
            return Outcome(path.what.state.answer, tuple(ends), judge, spent)
    return best(ends, judge, spent)


class _Search:
    """One tree. ``ends``: every line that came to its end, leaf or rollout, with its score."""

    def __init__(
        self, growing: Growing, root: Branch, evaluate: str, judge: str, rollouts: int = 1, depth: int = 5
    ) -> None:
        self.growing, self.evaluate, self.judge, self.rollouts, self.depth = growing, evaluate, judge, rollouts, depth
        self.problem, self.player, self.budget = growing.problem, growing.player, growing.budget
        self.root = Node(what=Thought(root, State(None)))
        self.ends: list[Candidate] = []

    def run(self, iterations: int, width: int, policy: Policy, weight: float) -> Program:
        done: list[Branch] = []
        while self.root.visits < iterations:
            leaves = ask(self.root, min(width, iterations - self.root.visits), policy, weight)
            yield Wait([leaf.what.branch for leaf in leaves], done)  # the choice waited for all that was told before
            found = yield All([self._look(leaf) for leaf in leaves])
            for leaf, value in zip(leaves, found, strict=True):
                tell(leaf, value)
                for node in lineage(leaf):
                    yield Scored([node.what.branch], [node.total / node.visits], node.visits)
            done = [leaf.what.branch for leaf in leaves]
            if not self.budget.left(done[0].request):
                return

    def _look(self, leaf: Node) -> Program:
        """How good a leaf is; then it grows. It is judged once: where the search comes back to it, it is an end, or as
        deep as may be, and is worth the same again; or it could not grow, and has failed."""
        thought: Thought = leaf.what
        deep = leaf.depth >= self.depth
        if leaf.visits:
            return thought.score if thought.state.final or deep else 0.0
        if thought.state.final:
            yield from self.growing.judge([thought], self.judge)
            self.ends.append(thought.candidate)
        elif self.evaluate == "value":
            yield from self.growing.judge([thought], "value")
        else:
            thought.score = yield from self._rollout(thought.branch)
        thought.score = min(1.0, max(0.0, thought.score))
        if not (thought.state.final or deep):
            grown = yield from self.growing.grow([thought])
            whole = sum(child.times for child in grown)
            leaf.children = [Node(leaf, child.times / whole, child) for child in grown]
        return thought.score

    def _rollout(self, branch: Branch) -> Program:
        """Write the line to its end, some times over: the mean score of the ends."""
        lines = yield from fork(branch, self.rollouts)
        if not lines:
            return 0.0
        yield Spend(lines, self.player["chain"], self.budget)
        found = yield from scores(self.judge, self.problem, self.player, self.budget, lines)
        self.ends += [self.player.candidate(self.problem, *scored) for scored in zip(lines, found, strict=True)]
        yield Wait([branch], lines)
        yield Release(lines)
        return sum(found) / len(found)
