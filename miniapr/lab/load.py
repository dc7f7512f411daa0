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


class Clock(Protocol):
    """Owns the time, in seconds, and how many rows were computed in it."""

    now: float
    rows: int

    def step(self, engine: Engine) -> None:
        """Have the engine make a step, and count what it takes."""
        ...


@dataclass
class Measured:
    """By a clock of this machine: on the wall, or the processor's time, which other programs hardly lengthen."""

    timer: Callable[[], float] = time.perf_counter
    now: float = 0.0
    rows: int = 0

    def step(self, engine: Engine) -> None:
        begun = self.timer()
        rows = stepped(engine)
        self.now += self.timer() - begun
        self.rows += rows


@dataclass
class Counted:
    """A step takes ``base + each * rows``: the same on every machine."""

    base: float = 1.0
    each: float = 0.03
    now: float = 0.0
    rows: int = 0

    def step(self, engine: Engine) -> None:
        rows = stepped(engine)
        self.now += self.base + self.each * rows
        self.rows += rows

    def slack(self, times: float) -> int:
        """The rows with which a step takes ``times`` as long as with one."""
        alone, two = self.base + self.each, self.base + 2 * self.each
        return rows_within(times * alone, [(1, alone), (2, two)])


def stepped(engine: Engine) -> int:
    """The rows of the step that this makes."""
    return sum(event.data["rows"] for event in engine.step() if event.kind == "step")


@dataclass(frozen=True)
class Arrival:
    at: float
    problem: Any


def arrivals(game: Game, rate: float, count: int, seed: int, numbers: int = 3) -> list[Arrival]:
    """So many held-out problems, on average ``rate`` a second, each as if no other came. The problems are the same at
    every rate. Raises ValueError for a game without problems."""
    if game.draw is None:
        raise ValueError("this model plays no task whose problems can be drawn")
    dice, gaps = random.Random(f"problems {seed}"), random.Random(f"gaps {seed}")
    at, found = 0.0, []
    for _ in range(count):
        at += gaps.expovariate(1.0) / rate
        found.append(Arrival(at, game.draw(dice, numbers)))
    return found


@dataclass(frozen=True)
class Policy:
    """How a request is thought about, and who goes on in a step.

    put    (problem, slots that are free) -> what the model is asked
    role   of the player, in which it is asked
    rows, cap  of the engine's admission (see ``Admission``); neither: all go on
    """

    name: str
    put: Callable[[Any, int], Any] = lambda problem, free: problem
    role: str = "adaptive"
    rows: int | None = None
    cap: int | None = None


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
    held: dict[Request, int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return max(1, self.rows - sum(self.held.values()))


def serve(
    engine: Engine, game: Game, policy: Policy, coming: Sequence[Arrival], clock: Clock, rows: int = 1
) -> list[Answer]:
    """Have all of them answered, in the order in which they end. ``rows`` of a step are slots; a request that is told
    nothing of them holds one. Raises what a request raises."""
    player, check = game.player, game.player.check
    assert check
    player = replace(player, roles={**player.roles, "adaptive": player[policy.role]})
    budget, slots = Budget(admission=Admission(policy.rows, policy.cap)), Slots(rows)
    waiting, answers = deque(coming), list[Answer]()
    running = dict[Request, tuple[Arrival, int]]()
    while waiting or running:
        if not running:
            clock.now = max(clock.now, waiting[0].at)
        while waiting and waiting[0].at <= clock.now:
            arrival = waiting.popleft()
            problem = policy.put(arrival.problem, slots.free)
            request = engine.submit(METHODS["multiverse"](problem, player, budget), budget.limits)
            running[request], slots.held[request] = (arrival, engine.steps), getattr(problem, "free", None) or 1
        clock.step(engine)
        for request in [request for request in running if request.state != "running"]:
            if request.error:
                raise request.error
            arrival, begun = running.pop(request)
            del slots.held[request]
            assert request.task and isinstance(request.task.value, Outcome)
            right = check(arrival.problem, request.task.value.answer)
            answers.append(Answer(clock.now - arrival.at, engine.steps - begun, request.cost.decoded, right))
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
            request, clock, taken = engine.submit(program(width)), Measured(timer), list[float]()
            while request.state == "running":
                before = clock.now
                clock.step(engine)
                taken.append(clock.now - before)
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


def scale(engine: Engine, game: Game, in_line: Policy, clock: Clock, each: float, count: int = 30) -> Scale:
    """Asks one after the other."""
    alone = [Arrival(0.0, arrival.problem) for arrival in arrivals(game, 1.0, count, seed=-1)]
    begun, seconds = clock.rows, list[float]()
    for arrival in alone:
        (answer,) = serve(engine, game, in_line, [replace(arrival, at=clock.now)], clock)
        seconds.append(answer.seconds)
    return Scale(mean(seconds), (clock.rows - begun) / count, each)
