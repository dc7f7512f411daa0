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
from statistics import linear_regression, median
from typing import Any, Protocol

from ..engine.engine import Engine
from ..engine.operations import Decode, Fork, Start
from ..engine.request import Program, Request
from ..methods.admission import Admission
from ..methods.budget import Budget
from ..methods.outcome import Outcome
from ..methods.table import METHODS
from ..players.game import Game


class Clock(Protocol):
    """Owns the time; ``now`` in seconds."""

    now: float

    def step(self, engine: Engine) -> None:
        """Have the engine make a step, and count what it takes."""
        ...


@dataclass
class Measured:
    """By a clock of this machine: on the wall, or the processor's time, which other programs do not lengthen."""

    timer: Callable[[], float] = time.perf_counter
    now: float = 0.0

    def step(self, engine: Engine) -> None:
        begun = self.timer()
        engine.step()
        self.now += self.timer() - begun


@dataclass
class Counted:
    """A step takes ``base + each * rows``: the same on every machine."""

    base: float = 1.0
    each: float = 0.03
    now: float = 0.0

    def step(self, engine: Engine) -> None:
        self.now += self.base + self.each * rows(engine)


def rows(engine: Engine) -> int:
    """Make a step, and say how many rows it had."""
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
    """Of one request: seconds from its arrival to its answer, tokens in all its branches, and whether it is right."""

    seconds: float
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
    engine: Engine, game: Game, policy: Policy, coming: Sequence[Arrival], clock: Clock, slots: Slots
) -> list[Answer]:
    """Have all of them answered. A request whose problem says nothing of free slots holds one."""
    player, check = game.player, game.player.check
    assert check
    player = replace(player, roles={**player.roles, "adaptive": player[policy.role]})
    budget = Budget(admission=Admission(policy.rows, policy.cap))
    waiting, running, answers = deque(coming), dict[Request, Arrival](), list[Answer]()
    while waiting or running:
        if not running:
            clock.now = max(clock.now, waiting[0].at)
        while waiting and waiting[0].at <= clock.now:
            arrival = waiting.popleft()
            problem = policy.put(arrival.problem, slots.free)
            request = engine.submit(METHODS["multiverse"](problem, player, budget), budget.limits)
            running[request], slots.held[request] = arrival, getattr(problem, "free", None) or 1
        clock.step(engine)
        for request in [request for request in running if request.state != "running"]:
            if request.error:
                raise request.error
            arrival = running.pop(request)
            del slots.held[request]
            assert request.task and isinstance(request.task.value, Outcome)
            right = check(arrival.problem, request.task.value.answer)
            answers.append(Answer(clock.now - arrival.at, request.cost.decoded, right))
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
