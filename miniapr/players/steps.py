"""Models that know roles, on a task that is solved step by step: ``chain``, ``value``, ``propose``, ``adaptive``, ...

A step is one token, and what it leaves is written behind it. So a line of thought is read by its steps alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine.sampling import Sampling
from ..methods.grammar import Control
from ..methods.player import Player, Role, State
from ..model.bundle import Bundle
from ..tasks import together
from ..tasks.countdown import Problem
from ..tasks.roles import sequential
from ..tasks.states import State as Left
from ..tasks.states import in_numbers, in_words
from ..tasks.task import Split
from ..tasks.terse import ENDS, Countdown
from ..tasks.vocabulary import MISS
from ..tasks.words import CONTROL, LABELS, LIKELY, NEVER, SURE
from .apart import apart
from .game import Game, Gloss, beyond, ranges_for, ranges_of

# Tree-of-Thoughts' values (20, 1, .001) as shares of the highest.
VALUES = {SURE: 1.0, LIKELY: 1 / 20, NEVER: 0.001 / 20}

# What a method asks for beside the roles that are trained by that name, and which of these it takes.
TAKES = {
    "step": ("chain",),
    "paths": ("adaptive",),
    "call": ("parent", "child"),
    **dict.fromkeys(("thinker", "teammate", "nudge", "finish"), ("worker",)),
    "summary": ("path",),
    **dict.fromkeys(("skeleton", "expand", "conclude"), ("adaptive",)),
    "point": ("child",),
    "agent": ("child",),
    "returned": ("organizer",),
}


def countdown_by_steps(bundle: Bundle, temperature: float = 1.0) -> Game:
    """Raises ValueError for a model that lacks the tokens of the task's roles."""
    name = f"the model {bundle.name}"
    about = {"ranges": {}, **bundle.about}
    ranges = ranges_of(about)
    task = Countdown(ranges[0])
    reading, ids = _Reading(task), bundle.tokenizer.ids
    labels = frozenset(ids(LABELS))
    control = Control.of(bundle.tokenizer, {name: name_ for name, name_ in bundle.control.items() if name != "item"})
    end = frozenset((control.eos,))

    def asks(role: str) -> Any:
        """About the problem, or what the steps of a text leave of it."""
        return lambda problem, *texts: ids(task.prompt(reading.left(problem, *texts), role).split())

    def proposals(problem: Left, text: str) -> list[list[int]]:
        """Each step named, with the numbers that the model says it leaves."""
        steps: list[list[int]] = []
        for word in text.split():
            if word in LABELS:
                steps.append(ids([word]))
            elif steps and word.isdigit():
                steps[-1] += ids([word])
        return steps

    def found(problem: Left, text: str) -> str | None:
        """What the first line that has an answer says: a text may be put together of many."""
        return next(filter(None, (task.answer(line, problem) for line in text.splitlines())), None)

    def line(problem: Left, text: str) -> State:
        """A whole line: it hit, or it did not."""
        answer = found(problem, text)
        return State(text, True, answer, float(answer is not None))

    adaptive = Role(asks("adaptive"), lambda problem, text: task.answer(text, problem), control.ends)
    roles = {
        "chain": Role(asks("chain"), line, end),
        "step": Role(asks("chain"), reading.state, end | labels),
        "propose": Role(asks("propose"), proposals, end),
        "value": Role(asks("value"), lambda problem, text: VALUES.get(task.verdict(text) or "", 0.0), end),
        "sequential": Role(asks("sequential"), lambda problem, text: task.answer(text, problem), end),
        "adaptive": adaptive,
        "paths": adaptive,  # where it would plan it says "now", and each path chooses its step by its own dice
        **_calls(task, ids, end),
        **_together(task, ids, control),
        **apart(task, ids, control),
    }
    trained = set(bundle.about.get("roles", task.roles))
    known = trained | {name for name, takes in TAKES.items() if trained.issuperset(takes)}
    if "chain" not in trained and "sequential" in trained:
        roles["chain"] = replace(
            roles["sequential"], read=line
        )  # who was taught no single try has a search as its one line of thought
        known.add("chain")

    def check(problem: Left, answer: str | None) -> bool:
        return task.verify(answer, problem).correct

    player = Player(
        name,
        {role: how for role, how in roles.items() if role in known},
        check,
        Sampling(temperature=temperature),
        control,
    )

    def drawn(dice: random.Random, count: int | None, split: Split = "pairs") -> Left:
        return Countdown(ranges_for(name, ranges, count)).draw(dice, split)

    def verdict(problem: Left, answer: str | None) -> str:
        return task.verify(answer, problem).reason

    def outside(problem: Left) -> str | None:
        return beyond(name, ranges, Problem(problem.numbers, problem.target))

    def put(problem: Problem) -> Left:
        return Left.of(problem, task.ranges.operators)

    def serial(problem: Left) -> int:
        return len(sequential(problem).written)

    def shown(problem: Left) -> str:
        return f"{' '.join(map(str, problem.numbers))} -> {problem.target}"

    def gloss(problem: Left, text: str) -> Gloss | None:
        step = next((word for word in text.split() if word in LABELS), "")
        short, sentence = in_numbers(step, problem), in_words(step, problem)
        return Gloss(short, sentence) if short and sentence else None

    return Game(player, shown, drawn, put, verdict, outside, serial=serial, gloss=gloss)


@dataclass(frozen=True)
class Part:
    """What a parent hands to a child: a problem, and the step that is to be taken first."""

    problem: Left
    step: str

    def after(self, task: Countdown) -> Left:
        return task.steps(self.problem)[self.step]


def _calls(task: Countdown, ids: Callable[[Sequence[str]], list[int]], end: frozenset[int]) -> dict[str, Role]:
    """A child is asked what comes of a step; a parent what comes of a problem, be it what a step leaves."""

    def state(part: Left | Part) -> Left:
        return part.after(task) if isinstance(part, Part) else part

    def parent_returns(part: Left | Part, text: str) -> str | None:
        return task.message(text, part.step) if isinstance(part, Part) else task.answer(text, part)

    def parts(part: Left | Part, text: str) -> list[Part]:
        """The steps that a call names, each once; what is no step is left out."""
        return [Part(state(part), step) for step in task.proposed(text, state(part))]

    def told(part: Left | Part, call: str, *returned: str) -> list[int]:
        return ids([*call.split(), *" ".join(returned).split(), CONTROL["join"]])

    return {
        "parent": Role(lambda part: ids(task.prompt(state(part), "parent").split()), parent_returns, end),
        "child": Role(
            lambda part: ids(task.prompt(part.problem, "child", part.step).split()),
            lambda part, text: task.message(text),
            end,
        ),
        "call": Role(told, parts),
    }


def _together(task: Countdown, ids: Callable[[Sequence[str]], list[int]], control: Control) -> dict[str, Role]:
    """Several who think at the same time: each is asked by its number for the words by which it begins."""
    ends = frozenset((control.eos, control.thread_end))

    def begins(role: str) -> Callable[..., list[int]]:
        def ask(problem: Left, number: str = "", step: str = "1") -> list[int]:
            if not number:
                return ids(task.prompt(problem, role).split())
            return ids(together.seed(int(number))) if step == "1" else []  # a worker chooses its next line by itself

        return ask

    def answer(problem: Left, text: str) -> str | None:
        return task.answer(text, problem)

    def at_work(problem: Left, text: str) -> State | None:
        """Done with an answer; at work after a line that missed; else there was nothing left to take."""
        found = task.answer(text, problem)
        return State(text, found is not None, found) if found or MISS in text.split() else None

    last = Role(lambda problem: ids([CONTROL["join"]]), answer, ends)
    return {
        "path": Role(begins("path"), answer, ends),
        "thinker": Role(begins("worker"), answer, ends),
        "teammate": Role(begins("worker"), at_work, ends | frozenset(ids([MISS]))),
        "nudge": Role(lambda problem: (), lambda problem, text: text),
        "summary": last,
        "finish": last,
    }


@dataclass(frozen=True)
class _Reading:
    """Lines of steps as states of the task."""

    task: Countdown

    def _follow(self, problem: Left, text: str) -> tuple[list[str], Left] | None:
        """The steps of a text up to the end of the search, and what they leave; None if one of them is no step."""
        path, left = list[str](), problem
        for word in text.split():
            if self.task.won(left) is not None:
                break
            if word in LABELS:
                steps = self.task.steps(left)
                if word not in steps:
                    return None
                path, left = [*path, word], steps[word]
        return path, left

    def state(self, problem: Left, text: str) -> State | None:
        """Where there is no step left, what it is worth is what the line says of itself: that it hit, or not. No model
        was ever asked about one number, and the verifier is none of a player's roles."""
        found = self._follow(problem, text)
        if found is None or not found[0]:
            return None
        path, left = found
        answer = self.task.answer_by(path, problem)
        if self.task.won(left) is None:
            return State(left.numbers, False, answer)
        hit = self.task.answer(text, problem) is not None
        return State(tuple(path), True, answer, float(hit), unsaid=text.rsplit(maxsplit=1)[-1] not in ENDS)

    def left(self, problem: Left, text: str = "") -> Left:
        """What the steps of a text leave; of a text with a wrong step, all."""
        found = self._follow(problem, text)
        return found[1] if found else problem
