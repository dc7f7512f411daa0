"""A request: one tree of branches, and the program that drives it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import pairwise
from typing import Any, Protocol

from ..model.tokenizer import Tokenizer
from .branch import Branch, Limits, Tree
from .branching import Branching
from .events import Log


class Machine(Protocol):
    """What an operation may use: of an engine, or of whatever else runs programs."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def branching(self) -> Branching: ...

    @property
    def log(self) -> Log: ...


class Operation:
    """What a program yields. ``begin`` checks and starts it, ``result`` ends it once it is ``done``.

    ``needs`` names the branches that the engine must compute or decode until then.
    """

    def begin(self, machine: Machine, tree: Tree) -> None:
        """Raises ValueError if it cannot be done; nothing has changed then."""

    def done(self) -> bool:
        return True

    def result(self, machine: Machine) -> Any:
        return None

    def needs(self) -> Iterable[Branch]:
        return ()


Program = Generator[Operation, Any, Any]


class Task:
    """A running program: it advances as far as its operations are done, and never blocks."""

    def __init__(self, program: Program, tree: Tree) -> None:
        self.program, self.tree = program, tree
        self.operation: Operation | None = None
        self.finished = False
        self.value: Any = None

    def advance(self, machine: Machine) -> None:
        """Go on until an operation has to wait.

        An error of an operation is raised inside the program, where it was asked for; what the program
        does not catch comes out of here.
        """
        value, error, began = None, None, True
        while not self.finished:
            try:
                if self.operation and error is None:
                    if not began:
                        self.operation.begin(machine, self.tree)
                    if not self.operation.done():
                        return
                    value = self.operation.result(machine)
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


class Request(Tree):
    """A tree, and who drives it: a program, or a user by hand, one operation at a time."""

    def __init__(self, id: int, limits: Limits, tokenizer: Tokenizer, program: Program | None) -> None:
        super().__init__(id, limits, tokenizer)
        self.task = Task(program, self) if program else None
        self.error: Exception | None = None
        self.by_hand = program is None
        self.hand_error: Exception | None = None  # of the operation under way

    def __repr__(self) -> str:
        return f"Request({self.id}, {self.state}, branches={len(self.branches)})"

    def needed(self) -> list[Branch]:
        """Branches with something to compute that somebody waits for, each once, in order of birth."""
        if self.task is None:
            return []
        wanted = [b for b in self.task.needs() if b.span.written < len(b.span.tokens) and b.state == "alive"]
        if any(one.id >= next.id for one, next in pairwise(wanted)):
            wanted = sorted(set(wanted), key=lambda branch: branch.id)
        return wanted

    @property
    def idle(self) -> bool:
        """Nobody waits for anything of it: a tree that a user holds in hand."""
        return self.task is None or self.task.operation is None
