"""Open arrivals into one engine: who is answered right, and how soon.

Requests come when they come, whatever the engine has to do (a Poisson process), so what one of them takes is waited for
by all others: a step has a row for every branch that goes on, and each row makes it longer. The clock runs while the
engine steps and jumps over the time in which there is nothing to do.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import linear_regression, mean, median
from typing import Any, Protocol

from ..engine.engine import Engine
from ..engine.operations import Decode, Fork, Start
from ..engine.request import Program, Request
from ..methods.admission import Admission, rows_within
from ..methods.budget import Budget
from ..methods.outcome import Outcome
from ..methods.table import METHODS
from ..players.game import Game


class Desk(Protocol):
    """Who answers. Owns the requests that it was given."""

    def take(self, problem: Any) -> Any:
        """Begin with a problem. Gives a ticket."""
        ...

    def step(self) -> int:
        """Make a step. Gives its rows."""
        ...

    def done(self, ticket: Any) -> tuple[int, bool] | None:
        """Of one that has ended: its tokens, and whether it is right. Raises what went wrong with it."""
        ...


class Live:
    """An engine, in which requests are thought about in a role of the player."""

    def __init__(self, engine: Engine, game: Game, role: str = "adaptive", admission: Admission | None = None) -> None:
        player = game.player
        assert player.check
        self.engine, self.check = engine, player.check
        self.player = replace(player, roles={**player.roles, "adaptive": player[role]})
        self.budget = Budget(admission=admission)
        self._problems: dict[Request, Any] = {}

    def take(self, problem: Any) -> Request:
        request = self.engine.submit(METHODS["multiverse"](problem, self.player, self.budget), self.budget.limits)
        self._problems[request] = problem
        return request

    def step(self) -> int:
        return sum(event.data["rows"] for event in self.engine.step() if event.kind == "step")

    def done(self, ticket: Request) -> tuple[int, bool] | None:
        if ticket.state == "running":
            return None
        if ticket.error:
            raise ticket.error
        assert ticket.task and isinstance(ticket.task.value, Outcome)
        return ticket.cost.decoded, self.check(self._problems.pop(ticket), ticket.task.value.answer)


class Clock(Protocol):
    """Owns the time, in seconds, and how many rows were computed in it."""

    now: float
    rows: int

    def step(self, desk: Desk) -> None:
        """Have the desk make a step, and count what it takes."""
        ...


@dataclass
class Measured:
    """By a clock of this machine: on the wall, or the processor's time, which other programs hardly lengthen."""

    timer: Callable[[], float] = time.perf_counter
    now: float = 0.0
    rows: int = 0

    def step(self, desk: Desk) -> None:
        begun = self.timer()
        rows = desk.step()
        self.now += self.timer() - begun
        self.rows += rows


@dataclass
class Counted:
    """A step takes ``base + each * rows``: the same on every machine."""

    base: float = 1.0
    each: float = 0.03
    now: float = 0.0
    rows: int = 0

    def step(self, desk: Desk) -> None:
        rows = desk.step()
        self.now += self.base + self.each * rows
        self.rows += rows

    def slack(self, times: float) -> int:
        """The rows with which a step takes ``times`` as long as with one."""
        alone, two = self.base + self.each, self.base + 2 * self.each
        return rows_within(times * alone, [(1, alone), (2, two)])


@dataclass(frozen=True)
class Arrival:
    at: float
    problem: Any


def arrivals(problems: Sequence[Any], rate: float, count: int, seed: int) -> list[Arrival]:
    """So many, on average ``rate`` a second, each as if no other came, with any of the problems. At every rate the same
    come in the same order."""
    dice, at, found = random.Random(seed), 0.0, []
    for _ in range(count):
        at += dice.expovariate(1.0) / rate
        found.append(Arrival(at, dice.choice(problems)))
    return found


@dataclass(frozen=True)
class Answer:
    """Of one request: seconds from its arrival to its answer, steps that it was in, tokens in all its branches, and
    whether it is right."""

    seconds: float
    steps: int
    tokens: int
    right: bool


@dataclass
class Slots:
    """Rows that a step is to have at most, and who holds how many of them: what a request was told is free is its own
    until it ends, however many it uses just now. Another one can always begin."""

    rows: int
    held: dict[Any, int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return max(1, self.rows - sum(self.held.values()))


Put = Callable[[Any, int], Any]  # (problem, slots that are free) -> what is asked


def as_it_is(problem: Any, free: int) -> Any:
    return problem


def serve(desk: Desk, coming: Sequence[Arrival], clock: Clock, put: Put = as_it_is, rows: int = 1) -> list[Answer]:
    """Have all of them answered, in the order in which they end. ``rows`` of a step are slots; a request that is told
    nothing of them holds one. Raises what a request raises."""
    slots, waiting, answers = Slots(rows), deque(coming), list[Answer]()
    running, steps = dict[Any, tuple[float, int]](), 0
    while waiting or running:
        if not running:
            clock.now = max(clock.now, waiting[0].at)
        while waiting and waiting[0].at <= clock.now:
            arrival = waiting.popleft()
            problem = put(arrival.problem, slots.free)
            ticket = desk.take(problem)
            running[ticket], slots.held[ticket] = (arrival.at, steps), getattr(problem, "free", None) or 1
        clock.step(desk)
        steps += 1
        for ticket, (at, begun) in list(running.items()):
            if (done := desk.done(ticket)) is not None:
                answers.append(Answer(clock.now - at, steps - begun, *done))
                del running[ticket], slots.held[ticket]
    return answers


def pace(engine: Engine, timer: Callable[[], float], widths: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)) -> Counted:
    """What a step takes here, in seconds: the line through the medians of steps with so many rows. Each width has two
    turns, of which the first warms up."""

    def program(width: int) -> Program:
        root = yield Start(range(1, 17))
        threads = yield Fork(root, [[number] for number in range(width)])
        yield Decode(threads, max_tokens=24)

    medians = list[float]()
    for turn in range(2):
        for width in widths:
            request, taken = engine.submit(program(width)), list[float]()
            while request.state == "running":
                begun = timer()
                engine.step()
                taken.append(timer() - begun)
            medians += [median(taken)] if turn else []
    line = linear_regression(widths, medians)
    return Counted(line.intercept, line.slope)


@dataclass(frozen=True)
class Scale:
    """What loads and latencies are told in, so that they mean the same on every machine.

    line  seconds that an answer in line takes while nothing else is asked, on average
    rows  that it has in all its steps, its prompt and what the engine puts there included
    each  seconds that a row makes a step longer
    """

    line: float
    rows: float
    each: float

    def rate(self, load: float) -> float:
        """Requests a second. Load 1: their rows alone, each in line, fill all of the time."""
        return load / (self.rows * self.each)


def scale(desk: Desk, problems: Sequence[Any], clock: Clock, each: float) -> Scale:
    """Asks for one after the other, each in line."""
    begun, seconds = clock.rows, list[float]()
    for problem in problems:
        (answer,) = serve(desk, [Arrival(clock.now, problem)], clock)
        seconds.append(answer.seconds)
    return Scale(mean(seconds), (clock.rows - begun) / len(problems), each)
