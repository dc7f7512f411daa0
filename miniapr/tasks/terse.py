"""Countdown as a task that a way of thinking can be run on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import lines, roles, states
from .countdown import Problem, Ranges, draw, verify
from .states import State
from .task import Split, Verdict
from .vocabulary import HIT
from .words import CONTROL, LABELS, LATER, LIKELY, NEVER, SURE

ENDS = (CONTROL["eos"], CONTROL["thread_end"])
ROLES = ("chain", "value", "propose", "sequential", "adaptive", "child", "parent", "path", "worker", *LATER)


@dataclass(frozen=True)
class Countdown:
    """Problems of ``ranges``, for models that know roles (see ``miniapr.tasks.task``: a searched task)."""

    ranges: Ranges = field(default_factory=Ranges)
    name: str = "countdown"
    roles: tuple[str, ...] = ROLES

    def draw(self, rng: random.Random, split: Split = "pairs") -> State:
        """A problem that can be solved. Raises ValueError if the ranges hold none of the split."""
        return State.of(draw(rng, self.ranges, split), self.ranges.operators)

    def solve(self, problem: State) -> str | None:
        """The expression of the first path that a depth-first search finds."""
        found = states.paths(problem)
        return states.expression(found[0], problem.numbers) if found else None

    def verify(self, answer: str | None, problem: State) -> Verdict:
        """Whether an expression uses every number once and comes to the target."""
        if len(problem.numbers) > 1 and min(problem.numbers) > 0:
            return verify(answer, Problem(problem.numbers, problem.target))
        return Verdict(False, "a state within a search has no expression of its own")

    def prompt(self, problem: State, role: str, step: str | None = None) -> str:
        """The words of a prompt; ``step``: the line that a ``child`` is to search."""
        if role not in self.roles:
            raise ValueError(f"{self.name} knows the roles {', '.join(self.roles)}, not {role!r}")
        return " ".join((*roles.prompt(problem, role), *([step] if step else [])))

    def answer(self, text: str, problem: State) -> str | None:
        """The expression of the steps that ``text`` ends with, after a hit or a join."""
        return self.answer_by(_ending(text), problem)

    def steps(self, state: State) -> dict[str, State]:
        return states.steps(state)

    def won(self, state: State) -> bool | None:
        return state.numbers[0] == state.target if len(state.numbers) == 1 else None

    def proposed(self, text: str, state: State) -> dict[str, State]:
        """Of the words of ``text`` those that are steps, each with the state that it truly leads to."""
        legal = states.steps(state)
        return {word: legal[word] for word in text.split() if word in legal}

    def answer_by(self, path: Sequence[str], problem: State) -> str | None:
        return states.expression(path, problem.numbers)

    def verdict(self, text: str) -> str | None:
        """What ``value`` came to: the last of sure, likely and never."""
        return next((word for word in reversed(text.split()) if word in (SURE, LIKELY, NEVER)), None)

    def message(self, text: str, *above: str) -> str:
        """What a parent hears of a child that wrote ``text``. ``above``: steps that led to where it began."""
        path = _ending(text)
        return " ".join(lines.message((*above, *path) if path else None))


def prompt_text(problem: Problem, role: str = "adaptive") -> str:
    """A prompt for the model that ships, for example ``<bos> <adaptive> 8 7 3 -> 29 :``. Raises ValueError for
    more than four numbers, for one that has no token, and for an unknown role."""
    return Countdown().prompt(State.of(problem), role)


def extract_answer(text: str, problem: Problem) -> str | None:
    """The answer of what was written to such a prompt, as an expression: the steps that it ends with."""
    return Countdown().answer(text, State.of(problem))


def _ending(text: str) -> tuple[str, ...]:
    """The steps that a text ends with. None in a text that was cut short: those of a line are not an answer."""
    words = text.split()
    while words and words[-1] in ENDS:
        words.pop()
    begin = len(words)
    while begin and words[begin - 1] in LABELS:
        begin -= 1
    before = words[begin - 1] if begin else CONTROL["join"]
    return tuple(words[begin:]) if before in (HIT, CONTROL["join"]) else ()
