"""A request: one tree of branches, and the program that drives it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from ..kv.span import Span
from ..model.tokenizer import Tokenizer
from .branch import Branch, Cost, Limits

if TYPE_CHECKING:
    from .commits import Commit
    from .engine import Engine


class Operation:
    """What a program yields. ``begin`` checks and starts it, ``result`` ends it once it is ``done``.

    ``needs`` names the branches that the engine must compute or decode until then.
    """

    def begin(self, engine: Engine, request: Request) -> None:
        """Raises ValueError if it cannot be done; nothing has changed then."""

    def done(self) -> bool:
        return True

    def result(self, engine: Engine) -> Any:
        return None

    def needs(self) -> Iterable[Branch]:
        return ()


Program = Generator[Operation, Any, Any]


class Task:
    """A running program: it advances as far as its operations are done, and never blocks."""

    def __init__(self, program: Program, request: Request) -> None:
        self.program, self.request = program, request
        self.operation: Operation | None = None
        self.finished = False
        self.value: Any = None

    def advance(self, engine: Engine) -> None:
        """Go on until an operation has to wait.

        An error of an operation is raised inside the program, where it was asked for; what the program
        does not catch comes out of here.
        """
        value, error, began = None, None, True
        while not self.finished:
            try:
                if self.operation and error is None:
                    if not began:
                        self.operation.begin(engine, self.request)
                    if not self.operation.done():
                        return
                    value = self.operation.result(engine)
            except Exception as caught:
                error = caught
            try:
                self.operation = self.program.throw(error) if error else self.program.send(value)
            except StopIteration as end:
                self.finished, self.operation, self.value = True, None, end.value
            value, error, began = None, None, False

    def needs(self) -> Iterable[Branch]:
        return self.operation.needs() if self.operation else ()

    def close(self) -> None:
        self.finished, self.operation = True, None
        self.program.close()


class Request:
    """Owns its branches; is admitted, preempted, ended as a whole.

    Its KV is in one of three conditions:
        held        every branch holds its view and its open span
        restoring   ``kept`` holds what is there of all that they need, the rest is being computed
        neither     it waits, or was preempted, and holds nothing
    """

    def __init__(self, id: int, limits: Limits, tokenizer: Tokenizer, program: Program | None) -> None:
        self.id, self.limits, self.tokenizer = id, limits, tokenizer
        self.task = Task(program, self) if program else None
        self.branches: list[Branch] = []
        self.held = False
        self.kept: dict[Span, int] | None = None  # span -> how many of its first tokens are held
        self.growing: Span | None = None  # a sealed span that got blocks in this step, not yet written
        self.commits: list[Commit] = []  # states that one can go back to
        self.cost = Cost()
        self.state = "running"  # then "finished", "failed", "aborted"
        self.error: Exception | None = None
        self.by_hand = program is None  # a user drives it, one operation at a time
        self.hand_error: Exception | None = None  # of the operation under way

    def __repr__(self) -> str:
        return f"Request({self.id}, {self.state}, branches={len(self.branches)})"

    @property
    def alive(self) -> list[Branch]:
        return [branch for branch in self.branches if branch.state == "alive"]

    @property
    def resident(self) -> bool:
        return self.held or self.kept is not None

    def needed(self) -> list[Branch]:
        """Branches with something to compute that somebody waits for, each once, in order of birth."""
        wanted = set(self.task.needs()) if self.task else set()
        return [branch for branch in self.alive if branch in wanted and branch.span.behind]

    @property
    def idle(self) -> bool:
        """Nobody waits for anything of it: a tree that a user holds in hand."""
        return self.task is None or self.task.operation is None
