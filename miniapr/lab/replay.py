"""Requests that were played once, and come again as often and as soon as one likes.

Where nobody gives way and texts are greedy, what a request computes in each of its steps does not depend on who else is
there. So thousands of arrivals cost no more than to add up rows, and by a counted clock each answer comes when the
engine would have given it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from .load import Live


@dataclass(frozen=True)
class Played:
    """``rows``: of each step that it was in; in the last one it only ended."""

    rows: tuple[int, ...]
    tokens: int
    right: bool


def played(desk: Live, problems: Iterable[Any]) -> dict[Any, Played]:
    """Each of the problems, all in one engine."""
    running = {desk.take(problem): problem for problem in dict.fromkeys(problems)}
    rows, found = defaultdict[Any, list[int]](list), dict[Any, Played]()
    while running:
        now = defaultdict[int, int](int)
        for event in desk.engine.step():
            if event.kind == "computed" and event.request is not None:
                now[event.request] += event.data["stop"] - event.data["start"]
        for ticket, problem in list(running.items()):
            rows[ticket].append(now[ticket.id])
            if (done := desk.done(ticket)) is not None:
                found[problem] = Played(tuple(rows[ticket]), *done)
                del running[ticket]
    return found


class Replayed:
    """A desk that has all its answers. Owns how far each request is."""

    def __init__(self, book: Mapping[Any, Played]) -> None:
        self.book = book
        self._tickets, self._at = count(), dict[int, tuple[Played, int]]()

    def take(self, problem: Any) -> int:
        ticket = next(self._tickets)
        self._at[ticket] = self.book[problem], 0
        return ticket

    def step(self) -> int:
        rows = 0
        for ticket, (one, at) in self._at.items():
            rows += one.rows[at]
            self._at[ticket] = one, at + 1
        return rows

    def done(self, ticket: int) -> tuple[int, bool] | None:
        one, at = self._at[ticket]
        if at < len(one.rows):
            return None
        del self._at[ticket]
        return one.tokens, one.right
