"""Roles of Countdown whose parts are written apart: an organizer's queries, an outline's details, a skeleton's points.

No model is trained for a skeleton; its roles are others under new names. Its outline is what ``adaptive`` writes
when its plan is begun for it, a point what a ``child`` writes (who is told the problem and its step, not the outline),
a point behind the outline a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..methods.async_think import Action
from ..methods.grammar import Control
from ..methods.player import Role
from ..tasks.states import State as Left
from ..tasks.terse import Countdown
from ..tasks.words import CONTROL, LABELS

FORK, JOIN, DETAIL, PLAN = (CONTROL[name] for name in ("thread", "join", "child", "plan"))
NUMBERS = {step: number for number, step in enumerate(LABELS)}  # a worker goes by the step that it was asked
KINDS = {FORK: "fork", JOIN: "join"}


def apart(task: Countdown, ids: Callable[[Sequence[str]], list[int]], control: Control) -> dict[str, Role]:
    """By the names under which the methods ask for them."""
    fork, join = ids([FORK, JOIN])
    end, thread_ends = frozenset((control.eos,)), frozenset((control.eos, control.thread_end))

    def asks(role: str, *begun: str) -> Callable[[Left], list[int]]:
        return lambda problem: ids([*task.prompt(problem, role).split(), *begun])

    def child(problem: Left, *words: str) -> list[int]:
        """The last of the words is the step."""
        return ids(task.prompt(problem, "child", words[-1]).split())

    def written(problem: Left, text: str) -> str:
        return text

    def action(problem: Left, text: str) -> Action | None:
        """A step and what is wanted of it."""
        step, kind = ("", "", *text.split())[-2:]
        return Action(KINDS[kind], NUMBERS[step], step) if kind in KINDS and step in NUMBERS else None

    def paragraph(problem: Left, text: str) -> tuple[str, list[int] | None]:
        """What was written, and the word that begins its detail if it is to have one."""
        words = text.split()
        more = words[-1:] == [FORK]
        return " ".join(words[:-1] if more else words), ids([DETAIL]) if more else None

    return {
        "organizer": Role(asks("organizer"), action, end | {fork, join}),
        "agent": Role(child, lambda problem, text: task.message(text), end),
        "returned": Role(lambda problem, number, said: ids(said.split()), written),
        "outline": Role(asks("outline"), paragraph, thread_ends | {fork}),
        "skeleton": Role(
            asks("adaptive", PLAN), lambda problem, text: list(task.proposed(text, problem)), control.ends
        ),
        "point": Role(child, written, end),
        "expand": Role(lambda problem, outline, number, step: ids([FORK, step]), written, thread_ends),
        "conclude": Role(lambda problem: ids([JOIN]), lambda problem, text: task.answer(text, problem), thread_ends),
    }
