"""Where the time of a forked thought goes: plan, threads, join, conclusion. The same for any engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ..engine.branch import Limits
from ..engine.engine import Engine
from ..engine.events import Event
from ..engine.request import Program, Request
from ..remote.engine import RemoteEngine

PHASES = ("plan", "threads", "join", "conclusion")


@dataclass
class Measured:
    """One thought, run to its end.

    seconds    in each phase. "join": from the last thread's end to the first token of the conclusion
    requests   completions that were asked for; in the engine, one
    prefilled  tokens computed other than just sampled
    reused     tokens whose keys and values were there: by fork, join and prefix cache
    """

    text: str = ""
    conclusion: str = ""
    threads: list[str] = field(default_factory=list)
    forks: int = 0
    requests: int = 1
    decoded: int = 0
    prefilled: int = 0
    reused: int = 0
    critical_path: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def join_share(self) -> float:
        """Of the whole time: for a re-prefill, that of the second prefill."""
        return self.seconds["join"] / self.total

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "total_seconds": self.total, "join_share": self.join_share}


class Clock:
    """Books the time between two steps on the phase that the root is in, told by events alone.

    computes  a step computes after its events, as the engine's does; otherwise it waits for them, as a client does
    """

    def __init__(self, computes: bool) -> None:
        self.computes, self.phase = computes, "plan"
        self.measured = Measured()
        self._root: int | None = None
        self._last = time.perf_counter()
        self.conclusion: list[int] = []

    def book(self, events: Iterable[Event]) -> None:
        now, before = time.perf_counter(), self.phase
        for event in events:
            if event.kind == "started" and self._root is None:
                self._root = event.branch
            if event.branch == self._root and event.branch is not None:
                self._change(event)
        self.measured.seconds[self.phase if self.computes else before] += now - self._last
        self._last = now

    def _change(self, event: Event) -> None:
        match event.kind:
            case "forked":
                self.phase, self.measured.forks = "threads", self.measured.forks + 1
            case "joined":
                self.phase, self.conclusion = "join", []
            case "decoded":
                self.phase = "conclusion" if self.phase == "join" else self.phase
                self.conclusion.append(event.data["token"])


def measure(
    engine: Engine | RemoteEngine,
    program: Program,
    limits: Limits | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Measured:
    """Run a program whose value is its root branch. Raises its error; KeyboardInterrupt if ``stop`` says so."""
    asked = engine.asked if isinstance(engine, RemoteEngine) else 0
    clock = Clock(computes=not isinstance(engine, RemoteEngine))
    request = engine.submit(program, limits)
    while request.state == "running" and not stop():
        clock.book(engine.step())
    if request.state == "running":
        engine.abort(request)
        raise KeyboardInterrupt
    root = engine.wait(request)
    found, cost = clock.measured, request.cost
    if isinstance(engine, RemoteEngine):
        found.requests = engine.asked - asked
    found.text, found.threads = root.text, _threads(request)
    found.conclusion = engine.tokenizer.decode(clock.conclusion)
    found.decoded, found.prefilled, found.reused = cost.decoded, cost.prefilled, cost.reused
    found.critical_path = root.critical
    return found


def _threads(request: Request) -> list[str]:
    return [branch.text for branch in request.branches if branch.parent is not None]
