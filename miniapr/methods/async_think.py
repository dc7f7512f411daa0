"""AsyncThink: an organizer that hands out questions, thinks on, and collects answers when it wants them (2025,
arXiv 2510.26658)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..engine.branch import Branch
from ..engine.operations import All, Start
from ..engine.request import Operation, Program
from .budget import Budget, Spend, Wait
from .method import SERVER, method
from .moves import append
from .outcome import Candidate, Outcome
from .player import Player


@dataclass(frozen=True)
class Action:
    """What an organizer wants: to ``fork`` a query, or to ``join`` the worker that it gave this number."""

    kind: str
    number: int
    query: str = ""


@dataclass
class Until(Operation):
    """Wait until something is so that another program of the tree brings about."""

    so: Callable[[], bool]

    def done(self) -> bool:
        return self.so()


@dataclass
class _Desk:
    """What organizer and workers share: queries not taken yet, workers' branches and what they returned."""

    waiting: deque[tuple[int, str, Branch]] = field(default_factory=deque)
    known: set[int] = field(default_factory=set)
    returned: dict[int, tuple[Branch, str]] = field(default_factory=dict)
    closed: bool = False


@method(
    "asyncthink",
    forks="model: queries",
    sees="its query",
    positions="from 0",
    joins="message",
    needs=("organizer", "agent", "returned"),
    where=SERVER,
    paper="arXiv 2510.26658",
)
def asyncthink(problem: Any, player: Player, budget: Budget, width: int = 2, actions: int = 64) -> Program:
    """The organizer goes on between a fork and its join. ``width`` agents work; a query waits for a free one. A number
    that is used twice, or joined before it was forked, is ignored; who is never joined is let go at the end.

    The player's roles: "organizer" reads a stretch as an Action, or None at its end; "agent" is asked the query;
    "returned" gives the tokens that tell of (number, what the worker returned).
    """
    desk = _Desk()

    def organize(branch: Branch) -> Program:
        role = player["organizer"]
        for _ in range(actions):
            (done,) = yield Spend([branch], role, budget)
            action = role.read(problem, done.text) if done.finish == "stop" else None
            if not isinstance(action, Action):
                break
            if action.kind == "fork" and action.number not in desk.known:
                desk.known.add(action.number)
                desk.waiting.append((action.number, action.query, branch))
            elif action.kind == "join" and action.number in desk.known:
                number = action.number
                yield Until(lambda number=number: number in desk.returned)  # type: ignore[misc]
                worker, words = desk.returned[number]
                yield Wait([branch], [worker])
                if not (yield from append(branch, *player["returned"].ask(problem, str(number), words))):
                    break
        desk.closed = True

    def work() -> Program:
        """An agent of the pool: one query after the other."""
        role, last = player["agent"], list[Branch]()
        while True:
            yield Until(lambda: bool(desk.waiting) or desk.closed)
            if desk.closed:
                return
            number, query, organizer = desk.waiting.popleft()
            worker = yield Start(role.ask(problem, query), player.greedy)
            yield Wait([worker], [organizer, *last])  # it was asked by then, and its agent was free
            (done,) = yield Spend([worker], role, budget, cut=lambda running: running if desk.closed else ())
            desk.returned[number] = worker, str(role.read(problem, done.text))
            last = [worker]

    root = yield Start(player["organizer"].ask(problem), player.greedy)
    yield All([organize(root), *(work() for _ in range(width))])
    found = player.candidate(problem, root) if "chain" in player.roles else Candidate(root.text, root.text)
    return Outcome(found.answer, (found,), "none", spent=not budget.left(root.request))
