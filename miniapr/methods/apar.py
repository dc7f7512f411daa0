"""APAR: a text that writes its own details beside itself (Liu et al. 2024, arXiv 2401.06761)."""

from __future__ import annotations

from typing import Any

from ..engine.branch import Branch
from ..engine.operations import All, Release, Start
from ..engine.request import Program
from .budget import Budget, Spend
from .method import SERVER, method
from .moves import fork
from .outcome import Candidate, Outcome
from .player import Player


@method(
    "apar",
    forks="model: when",
    sees="all before",
    joins="never",
    needs=("outline",),
    where=SERVER,
    paper="Liu et al. 2024, arXiv 2401.06761",
)
def apar(problem: Any, player: Player, budget: Budget, width: int = 2) -> Program:
    """At a fork token one branch goes on to the next paragraph and another, begun with a child token, writes this
    one's detail. Nothing is joined: a detail frees its keys and values as soon as it has ended.

    The player's "outline" role reads one stretch as (text, tokens that begin its detail, or None: it is the last).
    Of two forks in a row the second is not followed.
    """
    role = player["outline"]

    def write(branch: Branch, fresh: bool) -> Program:
        """Gives the paragraphs, each with its detail behind it."""
        (done,) = yield Spend([branch], role, budget)
        text, child = role.read(problem, done.text)
        if child is None or done.finish != "stop" or (fresh and not text):
            return [text]
        forked = yield from fork(branch, [(), child])
        if not forked:
            return [text]
        on, detail = forked
        below, beside = yield All([aside(detail), write(on, True)])
        return [text, *below, *beside]

    def aside(detail: Branch) -> Program:
        texts = yield from write(detail, True)
        yield Release([detail])
        return texts

    root = yield Start(role.ask(problem), player.greedy)
    text = "\n".join(part for part in (yield from write(root, False)) if part)
    answer = player.answer(problem, text) if "chain" in player.roles else text or None
    return Outcome(answer, (Candidate(answer, text, None, root.id),), "none", spent=not budget.left(root.request))
