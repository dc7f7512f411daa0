"""A short level: a goal to reach by commands, the picture that it makes, and limits on what it may cost.

A level is solved when the learner's tree looks like that of the solution (which positions attend to
which; what they say does not matter) and every limit is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..engine.branch import Branch
from ..kv.span import Piece, View
from ..model.bundle import Bundle
from ..tasks.countdown import Problem
from .session import Session
from .tree import PROMPT

PROBLEM = Problem((8, 7, 3), 29)

# What can be limited: how it is measured, and how it is said.
MEASURES: dict[str, tuple[Callable[[Session], int], str]] = {
    "decoded": (lambda session: session.cost.decoded, "tokens decoded"),
    "prefilled": (lambda session: session.cost.prefilled, "tokens prefilled"),
    "recomputed": (lambda session: session.cost.recomputed, "tokens computed again"),
    "bytes": (lambda session: session.cost.bytes_moved, "bytes moved"),
    "passes": (lambda session: session.cost.steps, "forward passes"),
    "critical": (lambda session: session.critical, "tokens one after the other"),
    "blocks": (lambda session: session.blocks, "blocks held by branches"),
    "context": (lambda session: max(map(stands_on, session.root.request.alive)), "tokens that a branch stands on"),
}


@dataclass(frozen=True)
class Condition:
    """``text`` says what is asked for and how it stands."""

    text: str
    met: bool


@dataclass(frozen=True, eq=False)
class Level:
    """A goal and the way to it.

    start     commands that have been given already; they can be undone
    solution  commands that solve it; what they make is the goal that is drawn
    wrong     plausible plays that do not solve it
    alike     whether the learner's tree must look like the goal
    most      {measure: at most}
    least     {measure: at least}
    also      a further condition: its text, and the test
    """

    title: str
    text: str
    hints: tuple[str, ...]
    solution: tuple[str, ...]
    wrong: tuple[tuple[str, ...], ...]
    start: tuple[str, ...] = ()
    prompt: str = PROMPT
    alike: bool = True
    most: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    also: tuple[str, Callable[[Session], bool]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For whoever plays it without Python: as it stands, ``also`` by what it says."""
        names = ("title", "text", "hints", "solution", "start", "prompt", "alike", "most", "least")
        return {name: getattr(self, name) for name in names} | {
            "also": self.also and self.also[0],
            "problem": vars(PROBLEM),
        }

    def begin(self, bundle: Bundle) -> Session:
        """A session at the level's start."""
        return Session(bundle, bundle.tokenizer.ids(self.prompt.split())).play(*self.start)

    def solved(self, bundle: Bundle) -> Session:
        """A session that has reached the goal."""
        return self.begin(bundle).play(*self.solution)

    def check(self, session: Session, goal: Session) -> list[Condition]:
        """What is asked for, and whether it is there. ``goal`` is what ``solved`` gave."""
        return list(self._conditions(session, goal))

    def _conditions(self, session: Session, goal: Session) -> Iterator[Condition]:
        if self.alike:
            yield Condition("your tree attends as the goal does", figure(session) == figure(goal))
        for limits, word, sign in ((self.most, "at most", 1), (self.least, "at least", -1)):
            for name, limit in limits.items():
                measure, what = MEASURES[name]
                now = measure(session)
                text = f"{word} {limit:,}" if limit else "no"
                yield Condition(f"{text} {what} (now {now:,})", sign * now <= sign * limit)
        if self.also:
            text, test = self.also
            yield Condition(text, test(session))


def figure(session: Session) -> object:
    """What a tree looks like: of every live branch the next position, and of every token before that the position at
    which it is seen and how far back lay what it attended to (only distances count in attention). Trees that came
    about in different ways can look the same."""
    alive = sorted(session.root.request.alive, key=lambda branch: branch.path)
    parents = [alive.index(branch.parent) if branch.parent else -1 for branch in alive]
    return parents, [(branch.position, _seen(branch.view + (branch.span.whole(),))) for branch in alive]


def _seen(view: View) -> list[tuple[int, tuple[int, ...]]]:
    seen = []
    for piece in view:
        span, before = piece.span, piece.span.view
        for i in range(piece.start, piece.stop):
            at = span.position + i
            read = span.weave.sees(span, i + 1) if span.weave else (*before, Piece(span, 0, i + 1))
            seen.append((at + piece.shift, tuple(at - other for other in positions(read))))
    return seen


def positions(read: Iterable[Piece]) -> list[int]:
    """Of all tokens of these pieces, as their reader counts."""
    return [position for piece in read for position in range(piece.position, piece.end)]


def stands_on(branch: Branch) -> int:
    """How many tokens a branch has before its next one."""
    return len(branch.view) + len(branch.span.tokens)
