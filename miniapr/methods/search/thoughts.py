"""Steps of a search tree: thoughts that grow from thoughts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...engine.branch import Branch
from ...engine.operations import All, Release
from ...engine.request import Program
from ..budget import Budget, Spend
from ..judging import Scored, ask, scores
from ..moves import fork
from ..outcome import Candidate
from ..player import Player, State, written


@dataclass(eq=False)
class Thought:
    """A node: a branch, where it stands, how good it looks, and how many tries led here."""

    branch: Branch
    state: State
    score: float = 0.0
    times: int = 1

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.state.answer, written(self.branch), self.score, self.branch.id)


@dataclass(frozen=True)
class Growing:
    """How thoughts grow.

    generate  "sample": each child writes one step of its own; "propose": the model is asked once for steps
    children  at most, of one thought
    """

    problem: Any
    player: Player
    budget: Budget
    generate: str
    children: int
    judged: dict[tuple[str, Hashable], float] = field(default_factory=dict)  # of each judge, by place

    def grow(self, parents: Sequence[Thought]) -> Program:
        """The next step of all parents at once. Gives the thoughts that stand somewhere, each place once; whatever
        else was written is let go. A parent that cannot fork (context, depth) has no children."""
        families = yield All([self._family(parent.branch) for parent in parents])
        step, new, lost = self.player["step"], dict[Any, Thought](), list[Branch]()
        for branch in (branch for family in families for branch in family):
            state = step.read(self.problem, written(branch))
            cut = branch.completion is not None and branch.completion.finish != "stop"
            if state is None or cut or state.key in new:
                lost.append(branch)
            if state is not None and not cut:
                new.setdefault(state.key, Thought(branch, state, times=0)).times += 1
        yield Release(lost)
        return list(new.values())

    def judge(self, thoughts: Sequence[Thought], judge: str, times: int = 1) -> Program:
        """Score all thoughts. A line that has only to say how it ended says it first. A place that was judged before is
        not asked about again (the value cache of Tree-of-Thoughts' code); a vote is about all that stand side by side,
        so there is nothing to keep of it."""
        unsaid = [thought for thought in thoughts if thought.state.unsaid]
        if unsaid:
            yield Spend([thought.branch for thought in unsaid], self.player["chain"], self.budget)
        for thought in unsaid:
            thought.state = self.player["step"].read(self.problem, written(thought.branch)) or thought.state
        places = [(judge, thought.state.key) for thought in thoughts]
        known = {} if judge == "vote" else self.judged
        new = [n for n, place in enumerate(places) if place not in known]
        asked = self.problem, self.player, self.budget, [thoughts[n].branch for n in new]
        found = yield from scores(judge, *asked, times, role="step")
        known |= {places[n]: score for n, score in zip(new, found, strict=True)}
        for thought, place in zip(thoughts, places, strict=True):
            thought.score = known[place]
        old = [thought for n, thought in enumerate(thoughts) if n not in new]
        yield Scored([thought.branch for thought in old], [thought.score for thought in old])

    def _family(self, parent: Branch) -> Program:
        seeds: int | list[tuple[int, ...]] = self.children
        if self.generate == "propose":
            heard = yield from ask(self.problem, self.player, self.budget, "propose", [parent], [written(parent)])
            seeds = list(dict.fromkeys(tuple(step) for steps in heard for step in steps if step))[: self.children]
        if not seeds or not self.budget.left(parent.request):
            return []
        branches = yield from fork(parent, seeds)
        if branches and self.generate == "sample":
            yield Spend(branches, self.player["step"], self.budget)
        return branches


def prune(thoughts: Sequence[Thought]) -> Program:
    """Let thoughts go, and with them those that they were the last child of."""
    for thought in thoughts:
        branch = thought.branch
        yield Release([branch])
        while branch.parent and branch.parent.parent and not branch.parent.children:
            branch = branch.parent
            yield Release([branch])
