"""Run a method on an engine, here or on a server, and count what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..engine.branch import Limits
from ..engine.events import Event
from ..engine.request import Program, Request
from ..model.tokenizer import Tokenizer
from .budget import Budget
from .outcome import Costs, Outcome, Thought


class Runs(Protocol):
    """An engine: what runs programs, step by step."""

    tokenizer: Tokenizer

    def submit(self, program: Program, limits: Limits | None = None) -> Request: ...

    def step(self) -> list[Event]: ...

    def abort(self, what: Request) -> None: ...


@dataclass
class _Seen:
    """What events have said of a branch."""

    parent: int | None = None
    context: int = 0  # tokens that its next token has before it
    tokens: list[int] = field(default_factory=list)  # its own
    decoded: int = 0
    writing: bool = False
    end: str = "alive"
    joins: tuple[int, ...] = ()


class Meter:
    """Counts from events what the engine has no counter for: the tree, the largest context, the blocks in use, and
    what a client without an engine would have sent. All of one request; blocks are those of the whole engine."""

    def __init__(self) -> None:
        self.branches: dict[int, _Seen] = {}
        self.largest_context = self.most_blocks = self.resent = 0

    def read(self, event: Event) -> None:
        if event.kind == "step":
            self.most_blocks = max(self.most_blocks, event.data["used"])
        elif event.branch is not None:
            self._of_branch(event, self.branches.setdefault(event.branch, _Seen()))

    def _of_branch(self, event: Event, seen: _Seen) -> None:
        data = event.data
        if event.kind == "decoded":
            self.resent += 0 if seen.writing else seen.context
            self.largest_context = max(self.largest_context, seen.context)
            seen.context, seen.writing, seen.decoded = seen.context + 1, True, seen.decoded + 1
            seen.tokens.append(data["token"])
        elif event.kind == "stopped":
            seen.writing = False
        elif event.kind == "extended":
            seen.context += len(data["tokens"])
            seen.tokens += data["tokens"]
        elif event.kind in ("started", "cached", "sealed"):
            seen.context = _length(data)
            seen.tokens = seen.tokens or list(data["tokens"])
        elif event.kind == "forked":
            for child in data["children"]:
                grown = _Seen(event.branch, _length(child), list(child["tokens"]))
                self.branches[child["branch"]] = grown
        elif event.kind == "joined":
            if event.branch != data["parent"]:  # beside it: a child of the same branch
                seen.parent = self.branches[data["parent"]].parent
            seen.context, seen.joins = _length(data), (*seen.joins, *data["children"])
            seen.tokens += data["tokens"][data["read"] :]
        elif event.kind in ("merged", "released", "ended", "aborted"):
            seen.end = "joined" if event.kind == "merged" else event.kind

    def tree(self, tokenizer: Tokenizer) -> tuple[Thought, ...]:
        """Every branch, in order of birth."""
        return tuple(
            Thought(id, seen.parent, tokenizer.decode(seen.tokens), seen.decoded, seen.end, seen.joins)
            for id, seen in sorted(self.branches.items())
        )


def _length(data: dict[str, Any]) -> int:
    """Tokens that a branch stands on, from what an event says of it."""
    return sum(stop - start for _, start, stop, _ in data["view"]) + len(data["tokens"])


def play(engine: Runs, program: Program, budget: Budget, stop: Callable[[], bool] = lambda: False) -> Outcome | None:
    """Run a method to its end, or until ``stop`` says so between two steps: then None.

    Raises what the method raises; the engine is left without it in either case.
    """
    outcomes = play_together(engine, [program], budget, stop)
    return outcomes[0] if outcomes else None


def play_together(
    engine: Runs, programs: Sequence[Program], budget: Budget, stop: Callable[[], bool] = lambda: False
) -> list[Outcome]:
    """The same for several, each with this budget, in the same steps; none if ``stop`` said so.

    What a step is to one of them it is to all: passes that were computed for one count once for each that had a part in
    them, with their seconds, and the blocks are those of all. Tokens are each method's own, but for those that it need
    not compute since another has (``reused``).
    """
    requests = [engine.submit(program, budget.limits) for program in programs]
    meters = {request.id: Meter() for request in requests}
    try:
        while any(request.state == "running" for request in requests) and not stop():
            for event in engine.step():
                _read(event, meters)
    finally:
        finished = all(request.state == "finished" for request in requests)
        for request in requests:
            engine.abort(request)  # of one that has ended: nothing
    for request in requests:
        if request.error:
            raise request.error
    return [_outcome(request, meters[request.id], engine.tokenizer) for request in requests] if finished else []


def play_all(engine: Runs, programs: Sequence[Program], budget: Budget, at_once: int) -> list[Outcome]:
    """The same for many, ``at_once`` of them in the engine together: each of these is played to its end before the next
    ones begin."""
    groups = (programs[begin : begin + at_once] for begin in range(0, len(programs), at_once))
    return [outcome for group in groups for outcome in play_together(engine, group, budget)]


def _read(event: Event, meters: Mapping[int, Meter]) -> None:
    """An event of a request is its own; of none, everybody's."""
    if event.request is None:
        for meter in meters.values():
            meter.read(event)
    elif event.request in meters:
        meters[event.request].read(event)


def _outcome(request: Request, meter: Meter, tokenizer: Tokenizer) -> Outcome:
    """What a method has come to that has ended."""
    outcome, cost = request.task.value if request.task else None, request.cost
    if not isinstance(outcome, Outcome):
        raise ValueError(f"a method ends with an Outcome, this one with {type(outcome).__name__}")
    costs = Costs(
        decoded=cost.decoded,
        critical=max((branch.critical for branch in request.branches), default=0),
        prefilled=cost.prefilled,
        recomputed=cost.recomputed,
        reused=cost.reused,
        resent=meter.resent,
        largest_context=meter.largest_context,
        most_blocks=meter.most_blocks,
        passes=cost.steps,
        seconds=cost.seconds,
    )
    return replace(outcome, costs=costs, tree=meter.tree(tokenizer))
