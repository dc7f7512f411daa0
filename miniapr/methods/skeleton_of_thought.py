"""Skeleton-of-Thought: an outline, and all its points written at once (Ning et al. 2023, arXiv 2307.15337).

As published the points are requests of their own and their texts, one after the other, are the answer. Ours writes them
in branches and reads them all before it concludes; ``skeleton.py`` is the same for a model that is only talked to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.branch import Branch
from ..engine.operations import Release, Start
from ..engine.request import Program
from . import moves
from .budget import Budget, Spend, Wait
from .judging import ask
from .method import ENGINE, method
from .options import WHOLE
from .outcome import Candidate, Outcome
from .player import Player


@method(
    "skeleton-of-thought",
    forks="model: outline",
    sees="its point",
    positions="from 0",
    joins="never",
    needs=("skeleton", "point"),
    paper="Ning et al. 2023, arXiv 2307.15337",
)
def skeleton_of_thought(problem: Any, player: Player, budget: Budget, width: int = 10, router: int = 0) -> Program:
    """Outline, a request for each point, concatenation; if there are no points, it is answered in line.

    The player's "skeleton" reads an outline as a list of points (3 to 10 as published), and "point" is asked for
    (outline, number, point).

    router  1: the model is asked first whether the question suits an outline (the player's "route"); if not, it is
            answered in line. As published by a prompt; its trained router is not here
    """
    player.require(["route"] if router else [])
    outline = yield Start(player["skeleton"].ask(problem), player.greedy)
    if router:
        (suits,) = (yield from ask(problem, player, budget, "route", [outline], [])) or [False]
        if not suits:
            yield Release([outline])
            return (yield from _in_line(problem, player, budget))
    (done,) = yield Spend([outline], player["skeleton"], budget)
    points = list(player["skeleton"].read(problem, done.text))[:width]
    if not points:
        return (yield from _in_line(problem, player, budget))
    role, branches = player["point"], list[Branch]()
    for number, point in enumerate(points, start=1):
        branches.append((yield Start(role.ask(problem, done.text, str(number), point), player.greedy)))
    yield Wait(branches, [outline])
    written = yield Spend(branches, role, budget)
    said = (str(role.read(problem, one.text)) for one in written)
    lines = zip(points, said, strict=True)
    text = "\n".join(f"{number}. {point} {words}".strip() for number, (point, words) in enumerate(lines, start=1))
    answer = player.answer(problem, text) if "chain" in player.roles else text
    return Outcome(answer, (Candidate(answer, text),), "none", spent=not budget.left(outline.request))


@method(
    "skeleton-joined",
    forks="model: outline",
    sees="all before",
    positions="shared",
    joins="stitch",
    needs=("skeleton", "expand", "conclude"),
    where=ENGINE,
    words={"join": WHOLE},
)
def skeleton_joined(problem: Any, player: Player, budget: Budget, width: int = 10, join: str = "stitch") -> Program:
    """Ours: the points are branches of the outline, which prefills nothing again, and a conclusion reads them all.

    The player's "expand" is "point" asked behind the outline, and "conclude" is asked behind the joined points.
    """
    root = yield Start(player["skeleton"].ask(problem), player.greedy)
    (done,) = yield Spend([root], player["skeleton"], budget)
    points = list(player["skeleton"].read(problem, done.text))[:width]
    asked = [player["expand"].ask(problem, done.text, str(n), point) for n, point in enumerate(points, start=1)]
    branches: Sequence[Branch] = (yield from moves.fork(root, asked)) if asked else []
    if branches:
        yield Spend(branches, player["expand"], budget)
    then = player["conclude"].ask(problem)
    room = yield from moves.join(root, branches, join, then) if branches else moves.append(root, *then)
    if not room:
        return Outcome(None, (), "none", spent=True)
    (done,) = yield Spend([root], player["conclude"], budget)
    answer = player["conclude"].read(problem, done.text)
    return Outcome(answer, (Candidate(answer, done.text, None, root.id),), "none", spent=not budget.left(root.request))


def _in_line(problem: Any, player: Player, budget: Budget) -> Program:
    root = yield Start(player["chain"].ask(problem), player.greedy)
    yield Spend([root], player["chain"], budget)
    found = player.candidate(problem, root)
    return Outcome(found.answer, (found,), "none", spent=not budget.left(root.request))
