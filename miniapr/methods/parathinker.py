"""ParaThinker: paths of fixed width, told apart by voices, and a summary that has read all (Wen et al. 2025, arXiv
2509.04475)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..engine.operations import Fork, Start
from ..engine.request import Program
from .budget import Budget, Spend
from .method import ENGINE, KEYS, method
from .moves import fork, join
from .outcome import Candidate, Outcome
from .player import Player

SILENT = "the model has no voices of its own for {} paths: it ran without"


@method(
    "parathinker",
    forks="once",
    sees="the prompt",
    positions="shared",
    joins="stitch",
    needs=("path", "summary"),
    where=ENGINE,
    engine=(KEYS,),
    paper="Wen et al. 2025, arXiv 2509.04475",
)
def parathinker(problem: Any, player: Player, budget: Budget, width: int = 4, reserve: int = 64) -> Program:
    """So many paths, each begun by a word of its own and said in a voice of its own, at the same positions; a forced
    summary reads the keys and values of them all.

    The player's "path" is asked for the prompt, and with a number for the word by which that path begins; "summary" is
    what is put behind the joined paths. ``reserve``: tokens that are kept for the summary. Blocks are not padded, as
    they are there: that is a need of the engine which it was published on.
    """
    role = player["path"]
    root = yield Start(role.ask(problem), player.sampling)
    seeds, note = [role.ask(problem, str(number)) for number in range(1, width + 1)], ""
    try:
        paths = yield Fork(root, seeds, voices=range(1, width + 1))
    except ValueError:
        paths, note = (yield from fork(root, seeds)), SILENT.format(width)
    if not paths:
        return Outcome(None, spent=True)
    yield Spend(paths, role, replace(budget, tokens=max(0, budget.tokens - reserve)))
    if not (yield from join(root, paths, "stitch", player["summary"].ask(problem))):
        return Outcome(None, spent=True, note=note)
    (done,) = yield Spend([root], player["summary"], budget)
    answer = player["summary"].read(problem, done.text)
    return Outcome(answer, (Candidate(answer, done.text, None, root.id),), spent=done.finish == "length", note=note)
