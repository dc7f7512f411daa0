"""Workers that read each other's words as they are written: Group Think (Hsu et al. 2025, arXiv 2505.11107) and
Hogwild! Inference (Rodionov et al. 2025, arXiv 2504.06261)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..engine.branch import Branch
from ..engine.cost import NoRoom
from ..engine.operations import All, Settle, Share, Start, Weave
from ..engine.request import Program
from ..kv.weave import POSITIONS
from .budget import Budget, Spend, Wait
from .judges import vote
from .method import ENGINE, KEYS, method
from .moves import append, fork, join
from .outcome import Candidate, Outcome
from .player import Player, Role, State

# Of Hogwild!: how the others' unfinished work is seen, and whether what is finished moves into everybody's history.
LAYOUTS = {"contiguous": ("contiguous", False), "interleaved": ("private", True), "combined": ("contiguous", True)}


def woven(root: Branch, seeds: Sequence[Sequence[int]], positions: str, slot: int | None = None) -> Program:
    """Fork, and let the children see each other. Gives them; none where there is no room."""
    branches = yield from fork(root, seeds)
    if not branches:
        return []
    try:
        return (yield Weave(branches, positions, slot))
    except NoRoom:  # the last slot lies behind the context
        return []


def headed(root: Branch, seeds: Sequence[Sequence[int]], others: Sequence[int], own: Sequence[int]) -> Program:
    """As ``woven``, contiguous, with a header before the others' work and one before one's own. Gives the workers.

    A header is a member that says no more: every reader has it in its place. It is computed before anyone begins, so
    that already the first word sees it whole.
    """
    members = yield from woven(root, [()] * (len(seeds) + 2), "contiguous")
    if not members:
        return []
    above, *workers, last = members
    for header, words in ((above, others), (last, own)):
        if not (yield from append(header, *words)):
            return []
        yield Settle([header])
    for worker, words in zip(workers, seeds, strict=True):
        if not (yield from append(worker, *words)):
            return []
    return workers


@method(
    "group-think",
    forks="once",
    sees="each other",
    positions="slots",
    joins="vote",
    needs=("thinker",),
    where=ENGINE,
    engine=(KEYS,),
    words={"positions": POSITIONS},
    paper="Hsu et al. 2025, arXiv 2505.11107",
)
def group_think(
    problem: Any, player: Player, budget: Budget, width: int = 4, thoughts: int = 256, positions: str = "slots"
) -> Program:
    """Thinkers that see each other's tokens as they are written, each at positions of its own; the most frequent
    answer wins.

    The player's "thinker" is asked for the prompt, and with a number for the words by which that thinker begins.
    ``thoughts``: tokens of each, these words included, and the size of a slot. The rule of positions in the first
    version of the paper cannot be checked from what is public; this one is as it is told, and the others are options.
    """
    role = player["thinker"]
    prompt, seeds = role.ask(problem), [role.ask(problem, str(number)) for number in range(1, width + 1)]
    begun, slot = max(map(len, seeds)), thoughts if positions == "slots" else None
    _check_slots(len(prompt), begun, width, thoughts, player.context if slot else None)
    root = yield Start(prompt, player.sampling)
    thinkers = yield from woven(root, seeds, positions, slot)
    if not thinkers:
        return Outcome(None, spent=True)
    ended = yield Spend(thinkers, role, budget, most=thoughts - begun)
    candidates = tuple(player.candidate(problem, branch, role="thinker") for branch in thinkers)
    return Outcome(vote(candidates), candidates, "vote", spent=any(done.finish == "length" for done in ended))


def _check_slots(prompt: int, begun: int, width: int, thoughts: int, context: int | None) -> None:
    """Raises ValueError for thoughts that end with the words by which they begin, and for slots that the context does
    not have. All are counts of tokens; ``context`` None: whatever there is."""
    if thoughts <= begun:
        raise ValueError(f"a thinker begins with {begun} words that are given: thoughts of {thoughts} leave it none")
    last = prompt + (width - 1) * thoughts
    if context is not None and last + begun >= context:
        raise ValueError(
            f"the last of {width} slots of {thoughts} tokens begins at position {last}, the model sees {context}"
        )


@method(
    "hogwild",
    forks="once",
    sees="each other",
    positions="as one text",
    joins="first done",
    needs=("teammate", "nudge", "finish"),
    where=ENGINE,
    engine=(KEYS,),
    words={"layout": LAYOUTS},
    paper="Rodionov et al. 2025, arXiv 2504.06261",
)
def hogwild(
    problem: Any,
    player: Player,
    budget: Budget,
    width: int = 2,
    every: int = 256,
    reserve: int = 64,
    layout: str = "combined",
) -> Program:
    """Workers on one problem who see each other's work in progress; the first who is done ends all.

    The player's "teammate" is asked for the prompt, and with (worker, step) for the words by which that step begins; it
    reads a step as a State, final where the problem is solved, or as None where this worker has no more to say. Each
    ``every`` tokens "nudge" is put before a worker's next step: the question whether its work is redundant. If nobody
    is done, "finish" is put behind what the first worker sees, with ``reserve`` tokens kept for it.

    layout  "contiguous": the others' work, then one's own; "interleaved": a finished step moves into everybody's
            history, what is not finished is one's own affair; "combined": the history, the others' step, one's own
    """
    positions, shares = LAYOUTS[layout]
    role, header = player["teammate"], player.roles.get("header")
    past = header.ask(problem, "past") if header and shares else ()
    root = yield Start([*role.ask(problem), *past], player.sampling)
    seeds = [role.ask(problem, str(number), "1") for number in range(1, width + 1)]
    if header and positions == "contiguous":
        workers = yield from headed(root, seeds, header.ask(problem, "others"), header.ask(problem, "own"))
    else:
        workers = yield from woven(root, seeds, positions)
    if not workers:
        return Outcome(None, spent=True)
    team = _Team(problem, role, player["nudge"], replace(budget, tokens=max(0, budget.tokens - reserve)), every, shares)
    yield All([team.work(branch, number) for number, branch in enumerate(workers, start=1)])
    if team.done:
        return Outcome(team.done[0].answer, tuple(team.done))
    yield Wait(workers, workers)  # the last words are said when all have been heard
    if not (yield from join(root, workers[:1], "select", player["finish"].ask(problem))):
        return Outcome(None, spent=True)
    (done,) = yield Spend([root], player["finish"], budget)
    answer = player["finish"].read(problem, done.text)
    return Outcome(answer, (Candidate(answer, done.text, None, root.id),), spent=done.finish == "length")


@dataclass
class _Team:
    """What the workers share beside what they write. ``done``: what those had to say who solved it, the first first."""

    problem: Any
    role: Role
    nudge: Role
    budget: Budget
    every: int
    shares: bool
    done: list[Candidate] = field(default_factory=list)

    def work(self, branch: Branch, number: int) -> Program:
        """Step after step. Between two of them nothing is waited for, so that nobody is overtaken."""
        step, since = 1, 0
        while True:
            (said,) = yield Spend([branch], self.role, self.budget, cut=lambda running: running if self.done else ())
            state = self.role.read(self.problem, said.text)
            if isinstance(state, State) and state.final:
                self.done.append(Candidate(state.answer, said.text, None, branch.id))
            if self.done or state is None or said.finish != "stop":
                return
            if self.shares:
                yield Share(branch)
            step, since = step + 1, since + len(said.tokens)
            words = [*self.role.ask(self.problem, str(number), str(step))]
            if since >= self.every:
                since, words = 0, [*words, *self.nudge.ask(self.problem)]
            if not (yield from append(branch, *words)):
                return
