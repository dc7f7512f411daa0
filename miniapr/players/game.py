"""What a command needs to let a model play a task: a player, problems, a judge that is always right."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..methods.player import Player
from ..tasks.countdown import Problem, Ranges
from ..tasks.task import Split


class NotTrained(ValueError):
    """A model does not know the task, whatever is asked of it there."""


class Draw(Protocol):
    """Raises ValueError where no such problem is known."""

    def __call__(self, dice: random.Random, count: int | None, split: Split = "pairs") -> Any: ...


@dataclass(frozen=True)
class Gloss:
    """A step as it is read: shortly, beside the text (``7 * 3``), and as a sentence."""

    short: str
    sentence: str


@dataclass(frozen=True)
class Game:
    """A player with its task.

    show    a problem in a line
    draw    a problem of a split from a generator, with so many numbers (None: as many as it likes); None: problems are
            questions that people ask
    gloss   how the first step in a text is to be read by whoever does not know its words; None: there is none
    serial  tokens that it takes the task's teacher to solve a problem in line; None: nobody knows
    put     a problem that was given, as the player knows it: of Countdown from a Problem, of sorting from a list
    verdict what the verifier says of an answer, in words; None: there is none
    outside what a problem has that the model was not trained for, in a sentence; None: nothing
    targets whether a problem has a target beside its numbers
    levels  upper ones of a problem that may be forked, where the task has such; None: it has none
    task    by which name it was chosen; "" for questions that people ask
    """

    player: Player
    show: Callable[[Any], str]
    draw: Draw | None = None
    put: Callable[[Any], Any] = lambda problem: problem
    verdict: Callable[[Any, str | None], str] | None = None
    outside: Callable[[Any], str | None] = lambda problem: None
    targets: bool = True
    levels: int | None = None
    task: str = ""
    serial: Callable[[Any], int | None] = lambda problem: None
    gloss: Callable[[Any, str], Gloss | None] = lambda problem, text: None


def ranges_of(about: Mapping[str, Any]) -> list[Ranges]:
    """Those that a model says it was trained for. Raises ValueError for what are none."""
    said = {key: about[key] for key in ("ranges", "ranges_of_two", "ranges_of_four") if key in about}
    try:
        return [Ranges(**one) for one in said.values()]
    except TypeError as error:
        raise ValueError(f"the model's description has odd ranges {said}: {error}") from error


def ranges_for(name: str, known: list[Ranges], count: int | None) -> Ranges:
    """Those with so many numbers, or the first. Raises ValueError if the model was trained for none such."""
    for ranges in known:
        if count in (None, ranges.count):
            return ranges
    counts = " or ".join(map(str, sorted(ranges.count for ranges in known)))
    raise ValueError(f"{name} was trained for problems of {counts} numbers, not of {count}")


def beyond(name: str, known: list[Ranges], problem: Problem) -> str | None:
    """Why no training range holds the problem, in a sentence; None if one does."""
    numbers, target = problem.numbers, problem.target
    for ranges in known:
        fits = ranges.low <= min(numbers) and max(numbers) <= ranges.high and len(numbers) == ranges.count
        if fits and ranges.target_low <= target <= ranges.target_high:
            return None
    trained = " or ".join(
        f"{r.count} numbers of {r.low} to {r.high} with targets of {r.target_low} to {r.target_high}" for r in known
    )
    return f"{name} was trained for {trained}; this problem lies outside"
