"""Graph-of-Thoughts: thoughts that are generated, scored, kept, improved, and *aggregated*: one thought that has read
several (Besta et al. 2023, arXiv 2308.09687). Its own example: sort a list by sorting its parts and merging them.

    split ──fork── sort part 1 ──fork── tries ──score, keep best──┐
                   sort part 2 ──fork── tries ──score, keep best──┴─join── merge ──fork── tries ──score, keep best

An edge down is a fork, keeping the best is a ``select``, and an aggregation is a real join of branches: stitched or
prefilled again. A part can be split in its turn, so forks and joins nest as deep as one likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...engine.branch import Branch
from ...engine.joins import message
from ...engine.operations import All, Join, Release, Start
from ...engine.request import Program
from ..budget import Budget, Spend, Wait
from ..judging import scores
from ..method import ENGINE, method
from ..moves import fork, join, rewrite
from ..options import WHOLE
from ..outcome import Candidate, Outcome
from ..player import Player


@method(
    "graph-of-thoughts",
    forks="the graph",
    sees="its line",
    joins="stitch",
    needs=("split", "sort", "merge"),
    where=ENGINE,
    words={"judge": ("exact", "value"), "join": (*WHOLE, "message")},
    paper="Besta et al. 2023, arXiv 2308.09687",
)
def graph_of_thoughts(
    problem: Any,
    player: Player,
    budget: Budget,
    width: int = 3,
    depth: int = 1,
    judge: str = "exact",
    join: str = "stitch",
    improve: int = 0,
) -> Program:
    """Split, sort the parts, score, keep the best, merge. Of a question: "sort" answers a part, "merge" the whole.

    width    tries of each part and of each merge, of which the best is kept
    depth    how often parts are split again; a part that the model does not split is sorted as it is
    judge    who scores: "exact", the task's verifier, which judges parts as well; or "value", the model
    join     how an aggregation reads its branches; "message": every thought is a prompt of its own, as published, and
             the merge is told the answers of its parts (the player's "apart")
    improve  times that a thought which is not right yet may be improved (the player's "improve")
    """
    player.require(["improve"] if improve else [])
    graph = _Graph(player, budget, width, judge, join, improve)
    root = yield Start(graph.ask(problem, depth), player.sampling)
    found = yield from graph.solve(root, problem, depth)
    return Outcome(found.answer, (found,), judge, spent=not budget.left(root.request))


@dataclass(frozen=True)
class _Graph:
    """The operations. Each acts on branches; ``solve`` is the graph they make.

    A branch stands where the solution of its part is to be written, and ends with it.
    """

    player: Player
    budget: Budget
    width: int
    judge: str
    join: str
    improvements: int

    def solve(self, branch: Branch, part: Any, depth: int) -> Program:
        """Gives the best Candidate for the part; the branch holds it."""
        parts = (yield from self.split(branch, part, depth)) if depth else []
        if not parts:
            return (yield from self.generate(branch, part, "sort"))
        apart = self.join == "message"
        if apart:
            parts = [self.player["apart"].read(piece, "") for piece in parts]
        branches = yield from fork(branch, [self.ask(piece, depth - 1) for piece in parts], 0 if apart else None)
        if not branches:
            return Candidate(None, "")
        found = yield All([self.solve(*piece, depth - 1) for piece in zip(branches, parts, strict=True)])
        return (yield from self.aggregate(branch, branches, part, [one.answer or "" for one in found]))

    def ask(self, part: Any, depth: int) -> Sequence[int]:
        """What puts a part that may be divided ``depth`` times."""
        return self.player["split"].ask(part, str(depth)) if depth else self.player["sort"].ask(part)

    def split(self, branch: Branch, part: Any, depth: int) -> Program:
        """Let the model divide a part. Gives the parts; none if it does not: then it is asked to sort it instead, and
        what it wrote is taken back."""
        begun = len(branch.history) - len(self.ask(part, depth))
        (done,) = yield Spend([branch], self.player["split"], self.budget)
        parts = list(self.player["split"].read(part, done.text))[: self.budget.width]
        if len(parts) < 2:
            yield from rewrite(branch, begun, self.ask(part, 0))
            return []
        return parts

    def aggregate(self, parent: Branch, branches: Sequence[Branch], part: Any, answers: Sequence[str]) -> Program:
        """One thought that has read several: a join, and then the merge is written."""
        if self.join == "message":
            room = yield from join(parent, branches, message(self.player["apart"].ask(part, *answers), keep=0))
        else:
            room = yield from join(parent, branches, self.join, self.player["merge"].ask(part))
        if not room:
            return Candidate(None, "")
        return (yield from self.generate(parent, part, "merge"))

    def generate(self, branch: Branch, part: Any, role: str) -> Program:
        """Some tries, scored; the best is kept, the others are let go."""
        tries = yield from fork(branch, self.width)
        if not tries:
            return Candidate(None, "")
        yield Spend(tries, self.player[role], self.budget)
        found = yield from self.score(tries, part, role)
        first = max(range(len(tries)), key=lambda i: found[i].score)
        yield Wait([tries[first]], tries)
        yield Join(branch, [tries[first]], "select")
        return (yield from self.improve(branch, part, found[first]))

    def score(self, tries: Sequence[Branch], part: Any, role: str) -> Program:
        """Candidates with their scores; an invalid one (without an answer) is below all others."""
        texts = [branch.text for branch in tries]
        asked = self.judge, part, self.player, self.budget, tries
        found = yield from scores(*asked, role=role, texts=texts)
        answers = [self.player.answer(part, text, role) for text in texts]
        lines = zip(answers, texts, found, tries, strict=True)
        return [Candidate(a, text, -1.0 if a is None else score, b.id) for a, text, score, b in lines]

    def improve(self, branch: Branch, part: Any, best: Candidate) -> Program:
        """Let the model try to mend what is not right yet; kept if it scores more."""
        for _ in range(self.improvements):
            if best.score == 1.0 or not self.budget.left(branch.request):
                break
            forked = yield from fork(branch, [self.player["improve"].ask(part, best.text)])
            if not forked:
                break
            (better,) = forked
            yield Spend([better], self.player["improve"], self.budget)
            text = better.completion.text if better.completion else ""
            (score,) = yield from scores(
                self.judge, part, self.player, self.budget, [better], role="improve", texts=[text]
            )
            answer = self.player.answer(part, text, "improve")
            if answer is not None and score > (best.score or 0.0):
                best = Candidate(answer, text, score, branch.id)
                yield Join(branch, [better], "select")
            else:
                yield Wait([branch], [better])
                yield Release([better])
        return best
